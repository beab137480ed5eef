"""Fails where a text uses a phrase that pyproject.toml bans ([tool.words]); part of `make lint`."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> int:
    """Print every banned phrase with its place and what to write instead; 1 where there is any."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["words"]
    banned: dict[str, str] = settings["banned"]
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, banned))})\b", re.IGNORECASE)
    allowed = re.compile("|".join(map(re.escape, settings["allowed"])))
    found = 0
    for name in subprocess.check_output(["git", "ls-files", *settings["files"]], cwd=ROOT, text=True).splitlines():
        path = ROOT / name
        if not path.is_file():
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            for match in pattern.finditer(allowed.sub("", line)):
                phrase = match[1].lower()
                print(f"{name}:{number}: {phrase!r}: write {banned[phrase]}")
                found += 1
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
