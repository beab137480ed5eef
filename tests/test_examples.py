"""The examples run, and say what they should."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_the_quick_start_runs_from_any_folder(tmp_path: Path) -> None:
    command = [sys.executable, EXAMPLES / "quick_start.py"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 0, ran.stderr
    for_user_1 = ran.stdout.partition("For user-1")[2].partition("\n\n")[0]
    assert for_user_1.count("Western no.") >= 8
    assert "without it rank" in ran.stdout
    assert "does not know user 'a stranger'" in ran.stdout
    assert not list(tmp_path.iterdir())


def test_the_notebook_runs_from_top_to_bottom(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setenv("MPLBACKEND", "agg")
    notebook = json.loads((EXAMPLES / "quick_start.ipynb").read_text())
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    names: dict[str, object] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert not cell["outputs"]  # pictures of an earlier run would be shown as those of this code
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    printed = capsys.readouterr().out
    assert "without Western no." in printed
    assert "fused ['Space no." in printed
