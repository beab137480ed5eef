"""The pages about bundles in Python and about vectors of other models are right: their examples run."""

import inspect
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from typer.testing import CliRunner

from index import AskedBundle, bundle_from_vectors, open_bundle
from index.__main__ import app

DOCS = Path(__file__).parents[3] / "docs"
LIBRARY, FOREIGN = (DOCS / "library.md").read_text(), (DOCS / "foreign-vectors.md").read_text()
N_USERS, N_ITEMS = 50, 100


def examples(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Vectors and interactions, in a folder in which the examples run."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    return {
        "item_ids": [f"i{row}" for row in range(N_ITEMS)],
        "user_ids": [f"u{row:04}" for row in range(N_USERS)],
        "item_vectors": rng.normal(size=(N_ITEMS, 4)),
        "user_vectors": rng.normal(size=(N_USERS, 4)),
        "user_items": sp.random(N_USERS, N_ITEMS, 0.2, "csr", random_state=0),
    }


def test_the_library_page(shop: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    interactions = shop.pop("user_items")
    bundle_from_vectors("bundles", **shop, interactions=interactions, publish=True)
    names: dict[str, Any] = {}
    for example in examples(LIBRARY, "python"):
        exec(example, names)
    assert len(capsys.readouterr().out.splitlines()) == 5
    parameters = inspect.signature(AskedBundle.recommend).parameters
    assert re.findall(r"^\| `(\w+)` \|", LIBRARY, re.MULTILINE) == [name for name in parameters if name != "self"]


def test_the_python_of_the_page_about_foreign_vectors(shop: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = examples(FOREIGN, "python")
    exec(example, shop)
    assert "10 items for a user" in capsys.readouterr().out


def test_the_command_of_the_page_about_foreign_vectors(shop: dict[str, Any]) -> None:
    for name in ("item", "user"):
        np.save(f"{name}s.npy", shop[f"{name}_vectors"])
        Path(f"{name}s.txt").write_text("\n".join(shop[f"{name}_ids"]) + "\n")
    Path("interactions.csv").write_text("user_id,item_id\nu0000,i1\nu0001,i2\n")
    Path("items.csv").write_text("item_id,title\ni1,One\n")
    (command,) = examples(FOREIGN, "sh")
    python, dash_m, index, *arguments = shlex.split(command.replace("\\\n", " "))
    assert [python, dash_m, index] == ["python", "-m", "index"]
    ran = CliRunner().invoke(app, arguments)
    assert ran.exit_code == 0, ran.output
    assert open_bundle("bundles").item(1)["title"] == "One"
