"""The demo's steps: which are repeated, and what is removed before."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from deploy import demo_steps
from deploy.demo_commands import run_module, time_left
from deploy.demo_steps import DemoFolder, make_demo
from index.errors import InputError


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The code that the steps depend on: two files."""
    for name in ("trainer/data.py", "trainer/export.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1")
    monkeypatch.setattr(demo_steps, "PACKAGES", tmp_path)
    return tmp_path / "trainer"


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commands that the steps run, which make the files that the next step needs."""
    ran: list[str] = []
    made = {"prepare": "shop/dataset.json", "tune": "study/best.toml", "compare": "{model}/runs/comparison.json"}

    def python(module: str, *arguments: object, log: Path | None, read: bool = False) -> str:
        ran.append(f"{module} {arguments[0]}")
        model = re.search(r"demo/(\w+)/(?:runs|bundles)", " ".join(map(str, arguments)))
        name = made.get(str(arguments[0]), "{model}/bundles/current.json")
        if arguments[0] != "export":
            file = tmp_path / "demo" / name.format(model=model[1] if model else "")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        return f"{tmp_path}/demo/{model[1]}/bundles/one\n" if read and model else ""

    monkeypatch.setattr(demo_steps, "run_module", python)
    return ran


ALL = ["trainer prepare", "trainer tune", "trainer compare", "trainer export", "index publish"]


def make(tmp_path: Path, model: str = "anchorease") -> str:
    console = Console(file=io.StringIO(), width=200)
    make_demo(DemoFolder(tmp_path / "demo", model), console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_every_step_says_what_it_does_and_how_long_all_takes(tmp_path: Path, code: Path, commands: list[str]) -> None:
    said = make(tmp_path).splitlines()
    assert commands == ALL
    assert [line[:12] for line in said] == [f"step {n} of 4:" for n in (1, 2, 3, 4)]
    assert re.search(r"\(about \d+ s, then about .* more\)$", said[0])


def test_what_is_done_is_not_repeated(tmp_path: Path, code: Path, commands: list[str]) -> None:
    make(tmp_path)
    commands.clear()
    assert (make(tmp_path), commands) == ("", [])


def test_another_model_shares_the_data_and_the_settings(tmp_path: Path, code: Path, commands: list[str]) -> None:
    make(tmp_path)
    commands.clear()
    make(tmp_path, "smore")
    assert commands == ALL[2:]


def test_changed_code_repeats_its_step_and_those_after_it_and_removes_the_stale_study(
    tmp_path: Path, code: Path, commands: list[str]
) -> None:
    make(tmp_path)
    (code / "export.py").write_text("2")
    old = tmp_path / "demo" / "study" / "old"
    old.touch()
    commands.clear()
    make(tmp_path)
    assert commands == ALL[1:]
    assert not old.exists()


def test_an_interrupted_step_goes_on_with_what_it_has_made(
    tmp_path: Path, code: Path, commands: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    working = demo_steps.run_module

    def interrupted(module: str, *arguments: object, log: Path | None, read: bool = False) -> str:
        if arguments[0] == "tune":
            (tmp_path / "demo" / "study").mkdir()
            (tmp_path / "demo" / "study" / "half").touch()
            raise KeyboardInterrupt
        return working(module, *arguments, log=log, read=read)

    monkeypatch.setattr(demo_steps, "run_module", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path)
    monkeypatch.setattr(demo_steps, "run_module", working)
    commands.clear()
    make(tmp_path)
    assert commands == ALL[1:]
    assert (tmp_path / "demo" / "study" / "half").exists()


def test_a_failed_command_is_named_with_the_end_of_its_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "demo.log"
    with pytest.raises(InputError, match=f"`python -m index no-such` failed, .* the last of {log}"):
        run_module("index", "no-such", log=log)
    assert "No such command 'no-such'" in log.read_text()
    assert "No such command 'no-such'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("usually", "shown"), [(30, "about 30 s left"), (0, "longer than usual; items: 5 of 32, about 4 min left")]
)
def test_the_time_left_is_shown_on_a_terminal(tmp_path: Path, usually: float, shown: str) -> None:
    (tmp_path / "demo.log").write_text("items: 5 of 32, about 4 min left\nother\n")
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    with time_left(console, usually, tmp_path / "demo.log"):
        pass
    assert isinstance(console.file, io.StringIO)
    assert shown in console.file.getvalue()
