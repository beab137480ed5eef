"""A small shop whose people like one kind of thing each, and bundles that the real trainer makes of it."""

import csv
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from index.errors import InputError

USERS, ITEMS, TOPICS, EACH = 400, 240, 8, 12
TRAINING = {
    "model.embedding_size": "16",
    "training.epochs": "20",
    "training.batch_size": "256",
    "training.learning_rate": "0.01",
    "evaluation.bootstrap": "0",
}
UNTRAINED = {"training.epochs": "1", "training.learning_rate": "0.000001"}
EVENT_COLUMNS = {"event_id": pa.string(), "user_id": pa.string(), "item_id": pa.string(), "kind": pa.string(),
                 "timestamp": pa.float64(), "position": pa.int64()}  # fmt: skip


@dataclass(frozen=True)
class SampleShop:
    """Data to train on, and the folder of bundles."""

    data: Path
    registry: Path
    events: Path  # none yet

    def trained(self, out: Path, changes: dict[str, str] | None = None) -> str:
        """The id of a new bundle by `trainer retrain`; it is not published."""
        places = ["--events", self.events, "--registry", self.registry, "--out", out]
        said = _run("trainer", "retrain", self.data, *places, *arguments(changes))
        return str(json.loads(said.splitlines()[-1])["bundle"])

    def publish(self, bundle: str) -> None:
        """Let it serve, past the gate."""
        _run("index", "publish", self.registry / bundle)


def arguments(changes: dict[str, str] | None = None) -> list[str]:
    """Of `trainer retrain`, for a model that is trained in seconds."""
    settings = TRAINING | (changes or {})
    return [
        "--config",
        "lightgcn",
        *(word for name, value in settings.items() for word in ("--set", f"{name}={value}")),
    ]


def create_shop(folder: Path, rng: np.random.Generator) -> SampleShop:
    """The shop's data, prepared by `trainer prepare`."""
    folder.mkdir()
    _write(folder / "items.csv", ["item_id", "title"], [[item_id(row), f"thing no. {row}"] for row in range(ITEMS)])
    _write(folder / "ratings.csv", ["user_id", "item_id", "timestamp"], _ratings(rng))
    shop = SampleShop(folder / "data", folder / "bundles", folder / "none.parquet")
    pq.write_table(pa.table({name: pa.array([], kind) for name, kind in EVENT_COLUMNS.items()}), shop.events)
    tables = [folder / "ratings.csv", "--items", folder / "items.csv", "--out", shop.data]
    _run("trainer", "prepare", "table", *tables, "--text-encoder", "none", "--image-encoder", "none")
    return shop


def user_id(row: int) -> str:
    """The outside id of a user."""
    return f"user-{row}"


def item_id(row: int) -> str:
    """The outside id of an item."""
    return f"item-{row}"


def liked_item(user: int, rng: np.random.Generator) -> int:
    """An item of the user's topic, some oftener than others."""
    n_topic = ITEMS // TOPICS
    return int(rng.random() ** 2 * n_topic) * TOPICS + user % TOPICS


def _ratings(rng: np.random.Generator) -> list[list[str]]:
    rows: list[list[str]] = []
    for user in range(USERS):
        liked: set[int] = set()
        while len(liked) < EACH:
            liked.add(liked_item(user, rng))
        times = 1_600_000_000 + rng.integers(0, 10**7, EACH)
        rows += [[user_id(user), item_id(item), str(at)] for item, at in zip(sorted(liked), times, strict=True)]
    return rows


def _write(path: Path, header: list[str], rows: list[list[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def _run(module: str, *words: object) -> str:
    command = [sys.executable, "-m", module, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    if done.returncode:
        raise InputError(f"{' '.join(command[2:5])} failed: {(done.stderr or done.stdout).strip()[-500:]}")
    return done.stdout
