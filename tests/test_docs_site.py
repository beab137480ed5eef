import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_pages_build_as_a_site_without_a_warning(tmp_path: Path) -> None:
    """Which means: every page is in the navigation, and every link and anchor between pages leads somewhere."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", ROOT / "mkdocs.yml"]
    built = subprocess.run([*command, "--site-dir", tmp_path], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    docs = ROOT / "docs"
    for page in docs.rglob("*.md"):
        place = page.relative_to(docs).with_suffix("")
        folder = place.parent if place.name == "index" else place
        assert (tmp_path / folder / "index.html").is_file()
