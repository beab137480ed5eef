import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_pages_build_as_a_site_without_a_warning(tmp_path: Path) -> None:
    """Which means: every page is in the navigation, and every link and anchor between pages leads somewhere."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", ROOT / "mkdocs.yml"]
    built = subprocess.run([*command, "--site-dir", tmp_path], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    for page in (ROOT / "docs").rglob("*.md"):
        assert (tmp_path / page.relative_to(ROOT / "docs").with_suffix("") / "index.html").is_file()
