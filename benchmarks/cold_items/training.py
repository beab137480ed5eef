"""Trains and exports by the trainer's command line; what is finished is not done again."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from index.errors import InputError


def trained_bundle(data: Path, folder: Path, config: str, settings: Sequence[str]) -> Path:
    """The bundle of a model trained on the data, made in the folder or found there."""
    registry = folder / "bundles"
    if not (found := _bundles(registry)):
        overrides = [argument for setting in settings for argument in ("--set", setting)]
        _trainer("fit", str(data), "--config", config, *overrides, "--out", str(folder / "run"))
        _trainer("export", str(folder / "run"), "--registry", str(registry), "--factory", "Flat")
        found = _bundles(registry)
    return found[0]


def _bundles(registry: Path) -> list[Path]:
    return sorted(path.parent for path in registry.glob("*/manifest.json"))


def _trainer(*arguments: str) -> None:
    """Run `python -m trainer`; InputError with the end of its output where it fails."""
    command = [sys.executable, "-m", "trainer", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    if done.returncode:
        raise InputError(f"{' '.join(command)} failed: {(done.stderr or done.stdout)[-2000:]}")
