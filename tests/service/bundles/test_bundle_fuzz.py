"""Starts onto bundles damaged at random: each serves the bundle before, is refused, or gives the right answers.

`make fuzz` runs thousands.
"""

import json
import os
import random
import resource
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import make_anchor, write_small_bundle
from servers import quiet_logs

from index.bundle import Bundle
from index.errors import InputError
from index.manifest import MANIFEST
from index.recency import Recency
from index.registry import Registry
from service.bundles.loaded import load_bundle
from service.bundles.open_published import open_published
from service.settings import Settings
from service.telemetry.metrics import Metrics

FACTORIES = ("Flat", "IVF4,Flat", "HNSW8")
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "90"))
MOST_MEMORY = 512 << 20  # bytes that a start may take beyond what the process has
MOST_S = 30  # for one start; SIGALRM ends a process that takes longer

Damage = Callable[[random.Random, bytearray], None]


def flip(rng: random.Random, data: bytearray) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def flip_in_the_header(rng: random.Random, data: bytearray) -> None:
    data[rng.randrange(min(128, len(data)))] ^= 1 << rng.randrange(8)


def truncate(rng: random.Random, data: bytearray) -> None:
    del data[rng.randrange(len(data)) :]


def garble(rng: random.Random, data: bytearray) -> None:
    start = rng.randrange(len(data))
    data[start : start + 64] = rng.randbytes(len(data[start : start + 64]))


def blank(rng: random.Random, data: bytearray) -> None:
    start = rng.randrange(len(data))
    data[start : start + 512] = bytes(len(data[start : start + 512]))


def lengthen(rng: random.Random, data: bytearray) -> None:
    data += rng.randbytes(rng.randrange(1, 64))


DAMAGES: tuple[Damage, ...] = (flip, flip, flip_in_the_header, flip_in_the_header, truncate, garble, blank, lengthen)


class Line:
    """Two bundles of one index kind, the second published; answers of both as they were written."""

    def __init__(self, folder: Path, factory: str) -> None:
        self.folder = folder
        sizes: dict[str, Any] = {"n_users": 12, "n_items": 20, "factory": factory}
        newest: dict[str, Any] = {"recency": Recency(tau=3), "anchor": make_anchor()}
        self.first = write_small_bundle(folder, **sizes)
        self.second = write_small_bundle(folder, after_seconds=1, seed=1, **sizes, **newest)
        for bundle in (self.first, self.second):
            Registry(folder).publish(bundle.name)
        self.right = self.answers()

    def answers(self, **settings: object) -> tuple[str, list[bytes]]:
        """The id of the bundle that a start serves, and all that it answers from."""
        chosen = Settings(registry=self.folder, gpu="off", **settings)
        bundle = open_published(chosen).bundle
        loaded = load_bundle(bundle, None, chosen, Metrics())  # type: ignore[arg-type]
        titles = [repr(loaded.items.full_record(row)).encode() for row in range(len(bundle.item_ids))]
        return bundle.bundle_id, [*titles, *_contents(bundle)]

    def start(self, **settings: object) -> str:
        """How a start ends."""
        try:
            bundle_id, found = self.answers(**settings)
        except InputError as error:
            return "refusal" if "\n" not in str(error) else "crash: two lines"
        except Exception as error:
            return f"crash: {type(error).__name__}"
        if bundle_id == self.first.name:
            return "fallback"
        return "right answer" if (bundle_id, found) == self.right else "wrong answer"


def _contents(bundle: Bundle) -> Iterator[bytes]:
    for array in bundle.arrays().values():
        yield array.tobytes()
    for result in bundle.index().search(np.array(bundle.user_embeddings), 5):
        yield result.tobytes()


def outcomes(folder: Path, factory: str, n: int, seed: int) -> Counter[str]:
    """How the starts onto n damaged bundles end, in a child: a crash or a hang is an outcome, too."""
    line = Line(folder, factory)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        counts = Counter[str]()
        try:
            soft = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + MOST_MEMORY
            resource.setrlimit(resource.RLIMIT_AS, (soft, resource.RLIM_INFINITY))
            with quiet_logs():
                _start_onto_damaged(line, n, random.Random(seed), counts)
        finally:
            os.write(writing, json.dumps(counts).encode())
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        told = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return Counter(json.loads(told or b"{}")) if status == 0 else Counter({f"crash: signal {-status}": 1})


def _start_onto_damaged(line: Line, n: int, rng: random.Random, counts: Counter[str]) -> None:
    files = [path for path in sorted(line.second.rglob("*")) if path.is_file()]
    often = [*files, *([line.second / MANIFEST, line.second / "index" / "item.faiss"] * 5)]
    for _ in range(n):
        file = rng.choice(often)
        before = file.read_bytes()
        damaged = bytearray(before)
        damage = rng.choice(DAMAGES)
        damage(rng, damaged)
        file.write_bytes(damaged)
        signal.alarm(MOST_S)
        try:
            outcome = line.start(bundle_fallback=rng.random() < 0.8, bundle_files=rng.choice(["mapped", "memory"]))
            counts[outcome] += 1
            if outcome.startswith(("crash", "wrong")):
                counts[f"{outcome}: {damage.__name__} {file.name}"] += 1
        finally:
            signal.alarm(0)
            file.write_bytes(before)


@pytest.mark.parametrize("factory", FACTORIES)
def test_a_start_onto_any_damage_serves_what_is_right_or_nothing(tmp_path: Path, factory: str):
    found = outcomes(tmp_path, factory, EXAMPLES // len(FACTORIES), seed=12)
    print(factory, dict(found))
    assert set(found) <= {"fallback", "refusal", "right answer"}, found
    assert sum(found.values()) == EXAMPLES // len(FACTORIES)
