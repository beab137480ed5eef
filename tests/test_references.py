"""Every document that code, settings and pages refer to is in the repository, and has the heading that is named."""

import re
import subprocess
from functools import cache
from pathlib import Path

from markdown.extensions.toc import slugify

ROOT = Path(__file__).parents[1]
KINDS = ("*.py", "*.toml", "*.yaml", "*.yml", "*.md", "Makefile", "Dockerfile")
PAGE = re.compile(r"(?<![\w-])docs/(?P<page>[\w/-]+\.md)(?:#(?P<anchor>[\w-]+))?")
DOCUMENT = re.compile(r"(?<![\w./-])(?:[\w.-]+/)*[A-Za-z][\w-]*\.md\b|(?<![\w.-])[A-Z][A-Z0-9_-]+\.txt\b")
OUTSIDE = re.compile(r"\.\./shared\b|\bshared/(?:spec|goldens|data)\b")
WRITTEN = {"comparison.md", "dist/licenses.md"}  # by the trainer into folders of runs, by the build of the console


def tracked(*patterns: str) -> list[str]:
    command = ["git", "ls-files", "-z", "--", *patterns]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


FILES = {name: (ROOT / name).read_text(encoding="utf-8") for name in tracked(*KINDS)}
DOCUMENTS = set(tracked("*.md", "*.txt"))


@cache
def anchors(page: str) -> set[str]:
    """What mkdocs makes of the page's headings; code blocks have none."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return {slugify(heading.replace("`", ""), "-") for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


def broken(text: str) -> list[str]:
    """References to pages that are not there, or have no such heading."""
    return [found.group() for found in PAGE.finditer(text) if not exists(found["page"], found["anchor"])]


def exists(page: str, anchor: str | None) -> bool:
    return f"docs/{page}" in DOCUMENTS and (anchor is None or anchor in anchors(page))


def elsewhere(name: str, text: str) -> list[str]:
    """Documents that are neither in the repository nor written by it; in tests, only those named in capitals."""
    places = (ROOT, (ROOT / name).parent, ROOT / "docs")
    return OUTSIDE.findall(text) + [
        word
        for word in DOCUMENT.findall(text)
        if word not in WRITTEN
        and not any((place / word).is_file() for place in places)
        and (Path(word).stem.isupper() or not name.startswith("tests/"))
    ]


def test_every_page_and_heading_that_is_named_exists() -> None:
    assert {name: found for name, text in FILES.items() if (found := broken(text))} == {}


def test_no_document_outside_the_repository_is_named() -> None:
    assert {name: found for name, text in FILES.items() if (found := elsewhere(name, text))} == {}


def test_what_is_not_there_is_found() -> None:
    page, nowhere, outside = "docs/" + "models.md", "docs/" + "nowhere.md", "MODELS" + ".md"
    assert broken(f"{page} {page}#bpr docs/data.md.") == []
    assert broken(f"({page}#bert) {nowhere}") == [f"{page}#bert", nowhere]
    assert elsewhere("trainer/fit.py", f"README.md, {outside} 3.2, {outside.lower()}, lower.txt") == [outside]
    assert elsewhere("trainer/fit.py", "nowhere" + ".md") == ["nowhere" + ".md"]
    assert elsewhere("tests/test_fit.py", "nowhere" + ".md in ../sha" + "red/goldens") == ["../sha" + "red"]
