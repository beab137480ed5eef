"""Trains and exports by the trainer's command line; what is finished is not done again."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from index.errors import InputError
from index.storage import replace_file


@dataclass(frozen=True)
class Training:
    """How all models of a measurement are trained, and the registry that shares their encoders."""

    registry: Path
    config: str
    settings: Sequence[str]  # KEY=VALUE

    def bundle(self, data: Path, folder: Path, *, encoders: bool) -> Path:
        """The bundle of a model trained on the data, with its run in the folder; made now, or found there."""
        name = folder / "bundle.txt"
        if not name.exists():
            overrides = [argument for setting in self.settings for argument in ("--set", setting)]
            _trainer("fit", str(data), "--config", self.config, *overrides, "--out", str(folder / "run"))
            where = (
                "--registry",
                str(self.registry),
                "--factory",
                "Flat",
                "--encoders",
                "auto" if encoders else "none",
            )
            path = Path(_trainer("export", str(folder / "run"), *where).strip().splitlines()[-1])
            replace_file(name, path.name.encode())
        return self.registry / name.read_text()


def _trainer(*arguments: str) -> str:
    """The output of `python -m trainer`; InputError with its end where it fails."""
    command = [sys.executable, "-m", "trainer", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"{' '.join(command)} failed: {(done.stderr or done.stdout)[-2000:]}")
    return done.stdout
