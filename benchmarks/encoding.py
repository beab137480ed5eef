"""`python -m benchmarks.encoding REGISTRY`: CPU time and memory of encoding, by the encoders of a registry."""

import asyncio
import io
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from index.encoders import EncoderCard
from index.registry import Registry, open_registry
from service.encoding.process import EncodingProcess
from service.settings import EncodingSettings
from service.telemetry.metrics import Metrics

ONE_BY_ONE, BATCHES = 101, 10
BATCH = {"text": 16, "image": 8}
WORDS = "red leather shoes for children with a soft sole, waterproof and warm, in three sizes, number"
WIDTH, HEIGHT = 600, 400  # of a picture


def main(registry: Registry) -> None:
    """Print one line for each encoder."""
    for digest in registry.encoders.digests():
        folder, card = registry.encoders.fetch(digest)
        size = sum(file.stat().st_size for file in folder.iterdir())
        print(f"{card.kind}: {card.name}, {size / 1e6:.1f} MB; {asyncio.run(_measured(folder.absolute(), card))}")


async def _measured(folder: Path, card: EncoderCard) -> str:
    content = _text if card.kind == "text" else _picture
    with tempfile.TemporaryDirectory() as data:
        process = EncodingProcess(EncodingSettings.model_validate({"registry": data, "data": data}), Metrics())

        async def cpu_ms(batches: Sequence[list[bytes]]) -> float:
            before = _cpu_s(process.pid)
            for contents in batches:
                await process.encode(folder, card.width, contents)
            return 1_000 * (_cpu_s(process.pid) - before) / sum(map(len, batches))

        started = time.perf_counter()
        await process.encode(folder, card.width, [content(0)])
        first = time.perf_counter() - started
        one = await cpu_ms([[content(number)] for number in range(1, ONE_BY_ONE)])
        n = BATCH[card.kind]
        many = await cpu_ms([_contents(content, n, start) for start in range(BATCHES)])
        resident = _resident_mb(process.pid)
        await process.close()
    return (
        f"first after {first:.1f} s with the start of the process, then {one:.1f} ms of CPU, in batches of {n} "
        f"{many:.1f} ms each; {resident} MB resident"
    )


def _contents(content: Callable[[int], bytes], n: int, start: int) -> list[bytes]:
    return [content(ONE_BY_ONE + start * n + number) for number in range(n)]


def _text(number: int) -> bytes:
    return f"{WORDS} {number}".encode()


def _picture(number: int) -> bytes:
    spots = np.random.default_rng(number).integers(0, 255, (12, 18, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(spots).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(file, "JPEG")
    return file.getvalue()


def _cpu_s(pid: int | None) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # in user mode and in the kernel


def _resident_mb(pid: int | None) -> int:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    (found,) = [line for line in lines if line.startswith("VmRSS:")]
    return int(found.split()[1]) // 1_000


if __name__ == "__main__":
    main(open_registry(sys.argv[1], Path(tempfile.gettempdir())))
