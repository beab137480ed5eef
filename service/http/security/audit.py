"""The audit log of admin requests: a line before an action and one after it, in a file and in the service's log."""

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
    """The audit file cannot be written; the request was not started."""

    status = 503
    code = "audit_unavailable"


class Audit:
    """Appends lines to a file; each is on disk when `record` returns.

    The file is opened for every line, so that it can be rotated at any time. It holds nothing of a request's body or
    query, and only the name of its key.
    """

    def __init__(self, path: Path | None, clock: Callable[[], float]) -> None:
        self._path = path
        self._clock = clock

    async def record(self, act: str, **facts: Any) -> None:
        """Append one line; AuditError where that fails."""
        log.info("audit", act=act, **facts)
        if self._path is None:
            return
        time = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds")
        line = orjson.dumps({"time": time, "act": act, **facts}) + b"\n"
        try:
            await asyncio.to_thread(_append, self._path, line)
        except OSError as error:
            log.error("audit file not written", path=str(self._path), error=error.strerror)
            raise AuditError("the audit log cannot be written; admin requests are refused until it can") from None


def _append(path: Path, line: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        written = os.write(file, line)  # one system call: lines of several threads or processes do not mix
        if written != len(line):
            raise OSError(None, "only a part was written; is the disk full?")
        os.fsync(file)
    finally:
        os.close(file)
