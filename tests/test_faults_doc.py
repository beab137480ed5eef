"""Every fault that the page tells of is shown by a test that exists."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
TOLD = re.compile(r"`([\w/]+\.py)::(test_\w+)`")


def rows() -> list[list[str]]:
    lines = [line.strip("|").split(" | ") for line in PAGE.splitlines() if line.startswith("|")]
    return [cells for cells in lines if cells[0].strip() not in ("fault", "---|---|---|---")]


def test_every_fault_has_what_is_seen_what_is_lost_and_a_test() -> None:
    assert len(rows()) > 20
    for cells in rows():
        assert len(cells) == 4, cells
        assert all(cell.strip() for cell in cells)
        assert TOLD.search(cells[3]), cells[0]


def test_every_test_that_the_page_names_exists() -> None:
    for path, name in TOLD.findall(PAGE):
        tree = ast.parse((ROOT / "tests" / path).read_text(encoding="utf-8"))
        assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}, f"{path}::{name}"
