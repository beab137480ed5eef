"""The audit log of admin requests: a line before an action and one before its answer, in a file and in the log."""

import asyncio
import fcntl
import os
import stat
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import structlog

from service.errors import ServiceError
from service.http.security.rate_limit import Rate, TokenBuckets

REFUSALS = Rate(per_s=1 / 60, burst=10)  # of each caller, in lines; the others are counted
SUMMARY_S = 60.0  # between two lines that count them
LOCK_TRIES, LOCK_WAIT_S = 100, 0.01

log = structlog.get_logger()


class AuditError(ServiceError):
    """The audit file cannot be written; the request was not started."""

    status = 503
    code = "audit_unavailable"


class Audit:
    """Appends lines to a file; each is on disk when `record` returns.

    The file is opened for every line, so that it can be rotated at any time. It holds nothing of a request's body or
    query, and only the name of its key.
    """

    def __init__(self, path: Path | None, clock: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._path = path
        self._clock = clock
        self._refusals = TokenBuckets(monotonic)
        self._uncounted: Counter[str] = Counter()  # refused calls without a line of their own, by caller

    async def record(self, act: str, **facts: Any) -> None:
        """Append one line; AuditError where that fails."""
        log.info("audit", act=act, **facts)
        if self._path is None:
            return
        now = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds")
        line = orjson.dumps({"time": now, "act": act, **facts}) + b"\n"
        try:
            await asyncio.to_thread(_append, self._path, line)
        except OSError as error:
            log.error("audit file not written", path=str(self._path), error=error.strerror)
            raise AuditError("the audit log cannot be written; admin requests are refused until it can") from None

    def admits_refusal(self, who: str) -> bool:
        """Whether a refused call of this caller gets lines of its own; else `summarise` counts it."""
        if self._refusals.take(who, REFUSALS) == 0:
            return True
        self._uncounted[who] += 1
        return False

    async def summarise(self) -> None:
        """Append a line for each caller with refused calls that have none; AuditError keeps them for the next time."""
        for who, count in list(self._uncounted.items()):
            await self.record("refused", who=who, count=count)
            self._uncounted[who] -= count
        self._uncounted = +self._uncounted

    async def summarise_forever(self) -> None:
        """Summarise now and then."""
        while True:
            await asyncio.sleep(SUMMARY_S)
            with suppress(AuditError):  # logged already
                await self.summarise()


def _append(path: Path, line: bytes) -> None:
    """Append a whole line or nothing. A line that a full disk or a kill tore before is ended first."""
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        _lock(file)  # between finding the end and writing, no other process may append
        status = os.fstat(file)
        before = status.st_size if stat.S_ISREG(status.st_mode) else 0
        if before and os.pread(file, 1, before - 1) not in (b"\n", b""):  # b"": just rotated
            log.warning("the audit file ends in a torn line", path=str(path))
            line = b"\n" + line
        written = os.write(file, line)
        if written != len(line):
            os.ftruncate(file, before)
            raise OSError(None, "only a part was written; is the disk full?")
        os.fsync(file)
    finally:
        os.close(file)


def _lock(file: int) -> None:
    """Take the file's lock; OSError where another process holds it for long."""
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOCK_WAIT_S)
        else:
            return
    raise OSError(None, "another process holds its lock")
