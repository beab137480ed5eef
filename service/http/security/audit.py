"""Who did what as an admin: a line before the act and one after it, in a file of their own and in the log."""

import asyncio
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import structlog

from service.errors import ServiceError

log = structlog.get_logger()


class AuditError(ServiceError):
    """The file cannot be written; the act it should tell of was not begun."""

    status = 503
    code = "audit_unavailable"


class Audit:
    """Adds lines to a file; each is on the disk when `record` returns.

    The file is opened for every line, so that it may be moved away at any time. Nothing of a request's body or query
    enters it, and of a key only its name.
    """

    def __init__(self, path: Path | None, clock: Callable[[], float]) -> None:
        self._path = path
        self._clock = clock

    async def record(self, act: str, **facts: Any) -> None:
        """Write down an act; AuditError where that is not possible."""
        log.info("audit", act=act, **facts)
        if self._path is None:
            return
        time = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds")
        line = orjson.dumps({"time": time, "act": act, **facts}) + b"\n"
        try:
            await asyncio.to_thread(_append, self._path, line)
        except OSError as error:
            log.error("audit file not written", path=str(self._path), error=error.strerror)
            raise AuditError("the audit log cannot be written; admin calls are refused until it can") from None


def _append(path: Path, line: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        written = os.write(file, line)  # one call: lines of several threads or processes do not mix
        if written != len(line):
            raise OSError(None, "only a part was written; is the disk full?")
        os.fsync(file)
    finally:
        os.close(file)
