"""`deploy/install.py`: what is checked before anything is installed, and which build of torch is chosen."""

import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from deploy import install
from deploy.install import Problem, check_disk, check_python

ROOT = Path(__file__).parents[2]
Made = list[list[str]]


def test_an_old_python_is_told_in_words() -> None:
    with pytest.raises(Problem, match=r"Python 3\.10\.4 is too old, expected 3\.11 or newer"):
        check_python((3, 10, 4))
    check_python((3, 14, 0))


def test_too_little_disk_is_told_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")(0, 0, 1_500_000_000)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    monkeypatch.setattr(sys, "argv", ["install.py", "demo", "--venv", str(tmp_path / "venv")])
    assert install.main() == 1
    assert not (tmp_path / "venv").exists()
    with pytest.raises(Problem, match=r"2,600 MB of disk are needed and .* has 1,500 MB left"):
        check_disk(tmp_path, 2_600)


def test_it_runs_as_a_file_without_the_project_or_its_packages() -> None:
    command = [sys.executable, "-I", "-S", str(ROOT / "deploy" / "install.py"), "--help"]
    assert "{demo,dev}" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def installed(
    monkeypatch: pytest.MonkeyPatch, level: str, available: str, *, uv: str | None = None, uv_works: bool = True
) -> Made:
    """What would be installed, where this build of torch is available."""
    made: Made = []

    def run_uv(_: str, __: Path, arguments: list[str]) -> bool:
        made.append(["uv", *arguments])
        return uv_works

    monkeypatch.setattr(install.subprocess, "run", lambda *_, **__: None)
    monkeypatch.setattr(install.shutil, "which", lambda _: uv)
    monkeypatch.setattr(install, "check_disk", lambda *_: None)
    versions = iter(["", "2.13.0+cpu"])
    monkeypatch.setattr(install, "_installed_torch", lambda _: next(versions))
    monkeypatch.setattr(install, "_available_torch", lambda *_: available)
    monkeypatch.setattr(install, "_run_pip", lambda _, arguments, *__: made.append(["pip", *arguments]))
    monkeypatch.setattr(install, "_run_uv", run_uv)
    install.install(level, Path("venv"), "torch==2.13.0")
    return made


def test_the_demo_takes_torch_for_cpus_and_no_developers_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    torch, packages = installed(monkeypatch, "demo", "2.13.0+cpu")
    assert torch[:3] == ["pip", "--extra-index-url", install.CPU_TORCH]
    assert torch[-1] == "torch==2.13.0+cpu"
    assert packages[-1] == ".[cpu,trainer,service,encode,demo]"


def test_torch_with_cuda_is_taken_with_a_warning_where_there_is_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch, _ = installed(monkeypatch, "demo", "2.13.0")
    assert torch[-1] == "torch==2.13.0"
    assert "brings CUDA, 6,000 MB more" in capsys.readouterr().err


def test_developers_get_what_pip_is_configured_for(monkeypatch: pytest.MonkeyPatch) -> None:
    torch, packages = installed(monkeypatch, "dev", "2.13.0")
    assert torch == ["pip", "torch==2.13.0"]
    assert packages[-1] == ".[cpu,trainer,service,dev]"


@pytest.mark.parametrize(
    ("links", "source"), [("/opt/wheels", ["--find-links", "/opt/wheels"]), ("", ["--torch-backend", "cpu"])]
)
def test_uv_is_used_where_it_is_and_gets_the_same_torch(
    monkeypatch: pytest.MonkeyPatch, links: str, source: list[str]
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", links)
    torch, packages = installed(monkeypatch, "demo", "2.13.0+cpu", uv="/usr/bin/uv")
    assert torch == ["uv", *source, "torch==2.13.0"]
    assert packages[0] == "uv"


def test_where_uv_fails_pip_installs(monkeypatch: pytest.MonkeyPatch) -> None:
    made = installed(monkeypatch, "demo", "2.13.0+cpu", uv="/usr/bin/uv", uv_works=False)
    assert [command[0] for command in made] == ["uv", "pip", "uv", "pip"]


def test_what_pip_says_is_shown_where_it_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bin").mkdir()
    pip = tmp_path / "bin" / "pip"
    pip.write_text("#!/bin/sh\necho Collecting torch\necho ERROR: no space left\nexit 1\n")
    pip.chmod(0o755)
    with pytest.raises(Problem, match="pip failed"):
        install._run_pip(tmp_path, ["torch"], "torch")
    assert "ERROR: no space left" in capsys.readouterr().err


@pytest.mark.parametrize(("level", "target"), [("demo", "make demo"), ("dev", "make install")])
def test_what_is_interrupted_says_how_to_go_on(
    level: str, target: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(install, "check_disk", interrupted)
    monkeypatch.setattr(sys, "argv", ["install.py", level])
    assert install.main() == 130
    assert f"stopped; `{target}` goes on from here" in capsys.readouterr().err
