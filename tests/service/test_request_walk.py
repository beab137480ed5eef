"""The files that one GET /recommend crosses: those that docs/architecture.md lists, and no more than they may be."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import httpx
import pytest
from servers import serving

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
WALK = PAGE.partition("## One request, file by file")[2].partition("\nA request holds")[0]
MOST_UNCACHED, MOST_CACHED = 22, 10


@contextmanager
def crossed_files() -> Iterator[tuple[set[str], threading.Event]]:
    """The files of service/ and index/ in which threads started meanwhile call a function, while the event is set."""
    files: set[str] = set()
    recording = threading.Event()

    def profile(frame: FrameType, kind: str, _: Any) -> None:
        if kind == "call" and recording.is_set():
            path = Path(frame.f_code.co_filename)
            if path.is_relative_to(ROOT) and path.parts[len(ROOT.parts)] in ("service", "index"):
                files.add(str(path.relative_to(ROOT)))

    threading.setprofile(profile)
    try:
        yield files, recording
    finally:
        threading.setprofile(None)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def walks(registry: Path) -> dict[str, set[str]]:
    """The files crossed by one request: uncached in every cache, and from the response cache."""
    quiet = {"bundle_poll_s": 600, "bundle_check_s": 600, "live_poll_s": 600}  # no background task in between
    found = {}
    with crossed_files() as (files, recording), serving(registry=registry, **quiet) as client:
        ask(client, "user-1")  # what is imported and built once
        for name in ("uncached", "cached"):
            files.clear()
            recording.set()
            ask(client, "user-2")
            recording.clear()
            found[name] = set(files)
    return found


def ask(client: httpx.Client, user_id: str) -> None:
    answer = client.get(f"/recommend/{user_id}", params={"k": 3, "explain": True})
    assert answer.status_code == 200, answer.text
    assert answer.json()["items"][0]["explanation"]["parts"]


def listed(marker: str) -> set[str]:
    """The files of those steps of the page's walk that hold the marker."""
    steps = [step for step in re.split(r"^(?=\d+\. )", WALK, flags=re.MULTILINE)[1:] if marker in step]
    return {path for step in steps for path in re.findall(r"`((?:service|index)/[\w/]+\.py)`", step)}


def test_an_uncached_request_crosses_the_files_that_the_page_lists(walks: dict[str, set[str]]) -> None:
    assert walks["uncached"] == listed("")
    assert sum(path.startswith("service/") for path in walks["uncached"]) <= MOST_UNCACHED


def test_a_cached_response_crosses_the_files_that_the_page_marks_as_always_crossed(walks: dict[str, set[str]]) -> None:
    assert walks["cached"] == listed("(always)")
    assert len(walks["cached"]) <= MOST_CACHED
