"""The wheel has the built console and nothing that it was built from; without a build it is a wheel all the same."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest

HERE = Path(__file__).parents[2]
SHIPPED = ("pyproject.toml", "README.md", "LICENSE", "index", "service")
DIST = ("dist/index.html", "dist/assets/a-1.js", "dist/licenses.md")
IN_CHECKOUT = (*DIST, "node_modules/.bin/vite", "node_modules/gyp/gyp/run.py", "node_modules/gyp/py.typed")


@pytest.fixture
def files_of_wheel(tmp_path: Path) -> Callable[..., set[str]]:
    """Builds a wheel of a checkout with these files in service/console/, and lists what it has."""

    def build(*in_console: str) -> set[str]:
        checkout = tmp_path / "checkout"
        checkout.mkdir()
        for name in SHIPPED:
            source, ignored = HERE / name, shutil.ignore_patterns("__pycache__", "node_modules", "dist", "measurements")
            (
                shutil.copytree(source, checkout / name, ignore=ignored)
                if source.is_dir()
                else shutil.copy(source, checkout)
            )
        for name in in_console:
            file = checkout / "service" / "console" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("")
        make = f"from setuptools import build_meta; print(build_meta.build_wheel({str(tmp_path)!r}))"
        subprocess.run([sys.executable, "-c", make], cwd=checkout, check=True, capture_output=True)
        (wheel,) = tmp_path.glob("*.whl")
        return set(ZipFile(wheel).namelist())

    return build


def test_of_the_console_the_wheel_has_what_was_built_alone(files_of_wheel: Callable[..., set[str]]) -> None:
    files = files_of_wheel(*IN_CHECKOUT)
    assert {name for name in files if name.startswith("service/console/")} == {
        f"service/console/{name}" for name in DIST
    }
    assert {"service/__main__.py", "service/http/routes/recommend.py", "index/__init__.py"} <= files


def test_without_a_build_the_wheel_has_all_but_the_console(files_of_wheel: Callable[..., set[str]]) -> None:
    files = files_of_wheel()
    assert "service/__main__.py" in files
    assert not [name for name in files if name.startswith("service/console/")]
