import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_pages_build_as_a_site_without_a_warning(tmp_path: Path) -> None:
    """Which means: every page is in the navigation, and every link and anchor between pages leads somewhere."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", ROOT / "mkdocs.yml"]
    built = subprocess.run([*command, "--site-dir", tmp_path], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    for page in (ROOT / "docs").glob("*.md"):
        assert (tmp_path / page.stem / "index.html").is_file()
