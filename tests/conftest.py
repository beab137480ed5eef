"""Set before anything imports torch or faiss: tiny models are faster on one thread than on several that spin."""

import functools
import gc
import os
import ssl
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"  # subprocesses of tests inherit it

# Every worker and subprocess imports the same modules: compile each once, also where the environment forbids it.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

import certifi  # noqa: E402 - after the variables above
import pytest  # noqa: E402 - after the variables above
from hypothesis import settings  # noqa: E402

# A busy machine is no failure of a law: examples may take as long as they need.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")


_create_default_context = ssl.create_default_context
_trusting_the_web = functools.cache(lambda: _create_default_context(cafile=certifi.where()))


def _context(*arguments: Any, **options: Any) -> ssl.SSLContext:
    """Every httpx client reads all certificates of the web, which takes longer than its requests: share them."""
    shared = not arguments and options == {"cafile": certifi.where()}
    return _trusting_the_web() if shared else _create_default_context(*arguments, **options)


ssl.create_default_context = _context

PNG = b"\x89PNG\r\n\x1a\n"

LONGEST_FIRST = (Path(__file__).parent, Path(__file__).parent / "loadtests")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Imports and collected tests are kept to the end: looking through them for garbage took 40% of the collection."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that take many seconds each: one of them at the end would leave the other workers idle."""
    items.sort(key=lambda item: item.path.parent not in LONGEST_FIRST)


@pytest.fixture(scope="session")
def no_pictures() -> Iterator[None]:
    """Drawing a run takes longer than training it here; `drawn` draws where the picture is what is tested."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainer.fit.plot_curves", _write_placeholder)
        patch.setattr("trainer.tune.command.plot_study", lambda study, search, path: path.write_bytes(PNG))
        yield


def _write_placeholder(history: list[dict[str, Any]], path: Path) -> None:
    if history:
        path.write_bytes(PNG)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of runs and studies are really drawn."""
    from trainer.plots import plot_curves
    from trainer.tune.results import plot_study

    monkeypatch.setattr("trainer.fit.plot_curves", plot_curves)
    monkeypatch.setattr("trainer.tune.command.plot_study", plot_study)
