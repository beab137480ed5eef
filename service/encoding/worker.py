"""`python -m service.encoding.worker MEGABYTES THREADS`: encodes what comes on standard input, until that ends.

A process of its own, with a limit of memory: a picture that crashes its decoder, or makes it take all memory, ends
this process and not the service. Each message names an encoder's folder and has contents of some `sizes`; the answer
has a problem or null for each, and the features of those without one.
"""

import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np

from service.encoding.frames import Frame, pack, read_frame
from service.encoding.networks import Network, open_network

MEGABYTE = 1_000_000
MOST_NETWORKS = 4  # loaded at once: those of the bundle that serves and of the next


class Networks:
    """The encoders that were used last, by folder."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._opened: dict[str, Network] = {}

    def answer(self, header: dict[str, object], body: bytes) -> Frame:
        """The answer to one message."""
        contents, start = [], 0
        for size in header["sizes"]:  # type: ignore[attr-defined]  # as the service sends it
            contents.append(body[start : start + size])
            start += size
        outcomes = self._network(str(header["encoder"])).encode(contents)
        rows = [one for one in outcomes if not isinstance(one, str)]
        problems = [one if isinstance(one, str) else None for one in outcomes]
        return {"problems": problems}, np.asarray(rows, "<f4").tobytes()

    def _network(self, folder: str) -> Network:
        network = self._opened.pop(folder, None) or open_network(Path(folder), self._threads)
        self._opened[folder] = network  # the last one is the latest used
        while len(self._opened) > MOST_NETWORKS:
            del self._opened[next(iter(self._opened))]
        return network


def limit_process(megabytes: int) -> None:
    """Limit the memory of this process, and let it write neither files nor core dumps.

    Where the machine or the container is out of memory all the same, the kernel ends this process first.
    """
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    resource.setrlimit(resource.RLIMIT_AS, (megabytes * MEGABYTE, megabytes * MEGABYTE))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def serve(requests: BinaryIO, answers: BinaryIO, threads: int) -> None:
    """Answer messages until the stream ends."""
    networks = Networks(threads)
    answers.write(pack({}, b""))  # ready
    answers.flush()
    while (frame := read_frame(requests)) is not None:
        answers.write(pack(*networks.answer(*frame)))
        answers.flush()


if __name__ == "__main__":
    limit_process(int(sys.argv[1]))
    serve(sys.stdin.buffer, sys.stdout.buffer, int(sys.argv[2]))
