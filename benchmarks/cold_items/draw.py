"""One draw of hidden items in a folder that keeps what was measured."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cold_items.hiding import PreparedData, hidden_rows, write_without
from benchmarks.cold_items.measuring import OfflineResult, measure_offline, targets
from benchmarks.cold_items.serving import Given, ServedResult, measure_served
from index.manifest import read_manifest
from index.storage import replace_file

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Draw:
    """What was measured with one set of hidden items."""

    offline: OfflineResult
    served: list[ServedResult]


@dataclass(frozen=True)
class Drawing:
    """A set of hidden items, and the folder with its data, run, bundle and results."""

    data: PreparedData
    folder: Path
    seed: int
    hidden: Array  # rows, ascending

    @classmethod
    def of(cls, data: PreparedData, folder: Path, share: float, seed: int) -> "Drawing":
        """Hide this share of the items, drawn by the seed."""
        return cls(data, folder, seed, hidden_rows(data.n_items, share, seed))

    def visible_data(self) -> Path:
        """The dataset without the hidden items."""
        if not (self.folder / "data").exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_without(self.data, self.hidden, self.folder / "data")
        return self.folder / "data"

    def offline(self, without: Path, full: Path) -> OfflineResult:
        """Recall by the arrays of the bundles trained without the hidden items, and on all."""
        return OfflineResult(
            **self._once(
                "offline.json", lambda: asdict(measure_offline(self.data, self.hidden, self.seed, without, full))
            )
        )

    def served(self, without: Path) -> list[ServedResult]:
        """Recall by a running service: from ready features, and where the bundle has encoders from raw content."""
        return [self._served(without, given) for given in _ways(without)]

    def _served(self, without: Path, given: Given) -> ServedResult:
        def measure() -> dict[str, Any]:
            found = measure_served(self.data, self.hidden, without, targets(self.data, self.hidden), given)
            return asdict(found)

        return ServedResult(**self._once(f"served-{given}.json", measure))

    def _once(self, name: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What was measured before, or is measured now."""
        file = self.folder / name
        if not file.exists():
            replace_file(file, json.dumps(measure()).encode())
        found: dict[str, Any] = json.loads(file.read_bytes())
        return found


def _ways(bundle: Path) -> list[Given]:
    return ["features", "raw"] if read_manifest(bundle).encoders else ["features"]
