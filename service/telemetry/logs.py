"""Configures logging on standard error, with the request id, also for libraries' messages.

An entry is one JSON object a line; on a terminal it is a line for people.
"""

import logging
import os
import sys
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from typing import TextIO, cast

import structlog
from structlog.typing import EventDict, WrappedLogger

from service.telemetry.readable_log import ReadableLines

TELLS_URLS = ("httpx", "httpcore", "urllib3")  # with passwords in them, below warnings

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


class _Forgiving:
    """A text stream that drops what it cannot write (disk full, reader gone): no log line may fail a request."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            return self._stream.write(text)
        return 0

    def isatty(self) -> bool:
        with suppress(OSError, ValueError, AttributeError):  # closed, or none at all
            return self._stream.isatty()
        return False

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


def _with_request_id(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    current = request_id.get()
    if current is not None:
        event.setdefault("request_id", current)
    return event


def _with_worker(worker: int, _: WrappedLogger, __: str, event: EventDict) -> EventDict:
    event.setdefault("worker", worker)
    return event


def configure_logging(level: str, *, worker: int | None = None) -> None:
    """Send structlog and standard logging through one renderer; called once, at the start of each process.

    Each line has the number of the worker, where there are several.

    Both renderers escape everything outside ASCII, so that no id can forge a line or control a terminal.
    """
    shared: list[structlog.typing.Processor] = [
        _with_request_id,
        *(() if worker is None else (partial(_with_worker, worker),)),
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    stream = cast("TextIO", _Forgiving(sys.stderr))
    renderer: structlog.typing.Processor = structlog.processors.JSONRenderer()
    if stream.isatty():
        renderer = ReadableLines(colours="NO_COLOR" not in os.environ)
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    for name in TELLS_URLS:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
