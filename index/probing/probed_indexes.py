"""Has index files that this process did not write probed by a process of their own, once for each content.

A file whose sum is right may still be crafted: the writer of a bundle writes its sums, too. What was probed is known by
sum, number of vectors and version of FAISS; the record lies where only the reader writes.
"""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import faiss
from pydantic import TypeAdapter

from index.errors import InputError
from index.probing.probe import OUT_OF_MEMORY, REFUSED, cpu_seconds
from index.reading import read_json, reason
from index.storage import locked, replace_file

RECORD, LOCK = "probed.json", "probed.lock"
MOST_RECORDED = 100
BUSY = 10  # how many times its CPU time a probe may take on a busy machine

_RECORDED = TypeAdapter(list[str])
_own: set[str] = set()  # sums of what this process wrote or had probed


def trust_own(sha256: str) -> None:
    """Take an index file of this sum as sound: this process wrote it."""
    _own.add(sha256)


@dataclass(frozen=True)
class ProbedIndexes:
    """The sound index files that are known here; with a folder also to other processes, and to later ones."""

    folder: Path | None = None

    def check(self, path: Path, sha256: str, n: int) -> None:
        """InputError unless the file, whose sum is `sha256`, is a sound index of n vectors; probes it if unknown."""
        if sha256 in _own:
            return
        known = f"{sha256} {n} {faiss.__version__}"
        with self._alone():  # several workers that start together probe once
            recorded = self._recorded()
            if known not in recorded:
                probe_in_process(path, sha256, n)
                self._record([*recorded, known][-MOST_RECORDED:])
        _own.add(sha256)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with ExitStack() as stack:
            if self.folder is not None:
                with suppress(OSError):  # a folder that cannot be written has no record either
                    self.folder.mkdir(parents=True, exist_ok=True)
                    (self.folder / LOCK).touch()
                    stack.enter_context(locked(self.folder / LOCK))
            yield

    def _recorded(self) -> list[str]:
        if self.folder is None:
            return []
        try:
            return read_json(self.folder / RECORD, _RECORDED, "expected the record of probed index files")
        except (InputError, OSError):  # none yet, or damaged
            return []

    def _record(self, known: list[str]) -> None:
        if self.folder is not None:
            with suppress(OSError):  # the next start probes again
                replace_file(self.folder / RECORD, _RECORDED.dump_json(known))


NO_RECORD = ProbedIndexes()  # but what this process knows


def probe_in_process(path: Path, sha256: str, n: int) -> None:
    """Open and search the file in a child process (probe.py); InputError says how that ended, if not well."""
    command = [sys.executable, "-m", "index.probing.probe", str(path), str(n), sha256]
    most_s = cpu_seconds(path.stat().st_size)
    try:
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=BUSY * most_s, check=False
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"{path} is no sound index: its probe takes longer than {BUSY * most_s} s") from None
    except OSError as error:
        raise InputError(f"{path} cannot be probed: no process can be started ({reason(error)})") from error
    if ended.returncode:
        said = " ".join(ended.stderr.decode(errors="replace").split())
        raise InputError(f"{path} is no sound index: {_why(ended.returncode, said, most_s)}")


def _why(status: int, said: str, most_s: int) -> str:
    if status == -signal.SIGXCPU:
        return f"FAISS takes more than {most_s} s of CPU time for it"
    if status < 0:
        return f"it ends the process that opens and searches it, by {signal.Signals(-status).name}"
    if status == OUT_OF_MEMORY or "bad_alloc" in said:
        return "FAISS takes far more memory for it than it has bytes"
    return said[-400:] if status == REFUSED else f"its probe ended with status {status}: {said[-200:]}"
