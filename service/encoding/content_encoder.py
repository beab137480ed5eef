"""Encodes contents of one kind by one encoder: each once on this machine, in batches, past what fails."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import structlog

from index.errors import InputError
from index.manifest import EncoderInfo
from index.storage import locked
from service.encoding.encoding import Encoding
from service.encoding.feature_cache import Row
from service.encoding.frames import Outcome
from service.encoding.process import ProcessFailedError

MOST_AT_ONCE = {"text": 16, "image": 8}  # contents of one batch
ATTEMPTS = 2  # of one content whose process ended: that may not have been its fault
LOCK_POLL_S = 0.02
REOPEN_S = 60.0  # after an encoder could not be opened

log = structlog.get_logger()


@dataclass(frozen=True)
class Failure:
    """Why a content has no features; `may_pass` where a later attempt may give them."""

    reason: str
    may_pass: bool = False


class ContentEncoder:
    """One encoder of a bundle. Its files are fetched, and their sums checked, when they are needed first."""

    def __init__(self, of: Encoding, kind: Literal["text", "image"], info: EncoderInfo) -> None:
        self.kind, self._of, self._info = kind, of, info
        self._digest = bytes.fromhex(info.digest)
        self._folder: Path | None = None
        self._reopen_at, self._opening = 0.0, asyncio.Lock()
        self.problem: str | None = None  # why its files cannot be opened

    async def cached(self, keys: Iterable[bytes]) -> dict[bytes, Row]:
        """Features that were made before, by the content's key."""
        return await self._of.cache.features(self._digest, keys, self._info.width)

    async def encode(self, contents: Mapping[bytes, bytes]) -> dict[bytes, Row | Failure]:
        """The features of each content, by key, or why there are none."""
        folder = await self._open()
        if folder is None:
            return dict.fromkeys(contents, Failure(f"its encoder cannot be opened: {self.problem}", may_pass=True))
        async with self._of.turn, _alone(self._of.lock_file):
            # What another process has encoded meanwhile is in the cache.
            found: dict[bytes, Row | Failure] = dict(await self.cached(contents))
            pending = sorted(contents.keys() - found.keys(), key=lambda key: len(contents[key]))
            most = MOST_AT_ONCE[self.kind]
            for start in range(0, len(pending), most):
                keys = pending[start : start + most]
                found |= await self._encode_batch(folder, keys, [contents[key] for key in keys])
        return found

    async def _encode_batch(
        self, folder: Path, keys: Sequence[bytes], contents: Sequence[bytes]
    ) -> dict[bytes, Row | Failure]:
        started, metrics = time.perf_counter(), self._of.metrics
        outcomes = await self._outcomes(folder, contents)
        metrics.encoding_seconds.labels(self.kind).observe(time.perf_counter() - started)
        found = dict(zip(keys, outcomes, strict=True))
        rows = {key: one for key, one in found.items() if not isinstance(one, Failure)}
        metrics.encoded.labels(self.kind).inc(len(rows))
        await self._of.cache.put(self._digest, rows)
        return found

    async def _outcomes(self, folder: Path, contents: Sequence[bytes]) -> list[Row | Failure]:
        """Where the process fails at a batch, its contents are tried one by one: one of them may be at fault."""
        try:
            return _with_failures(await self._of.process.encode(folder, self._info.width, contents))
        except ProcessFailedError as error:
            if len(contents) == 1:
                return [await self._again(folder, contents[0], error)]
        return [(await self._outcomes(folder, [content]))[0] for content in contents]

    async def _again(self, folder: Path, content: bytes, error: ProcessFailedError) -> Row | Failure:
        for _ in range(ATTEMPTS - 1):
            if error.timed_out:
                break
            try:
                return _with_failures(await self._of.process.encode(folder, self._info.width, [content]))[0]
            except ProcessFailedError as again:
                error = again
        return Failure(f"the encoding process failed: {error}", may_pass=True)

    async def _open(self) -> Path | None:
        async with self._opening:
            if self._folder is None and time.monotonic() >= self._reopen_at:
                try:
                    self._folder = await asyncio.to_thread(self._fetch)
                    self.problem = None
                except (InputError, OSError) as error:
                    self._reopen_at = time.monotonic() + REOPEN_S
                    self.problem = f"{self.kind} encoder {self._info.name}: {error}"
                    log.warning("an encoder of the bundle cannot be opened", kind=self.kind, error=str(error))
        return self._folder

    def _fetch(self) -> Path:
        folder, card = self._of.registry.encoders.fetch(self._info.digest)
        if (card.kind, card.width) != (self.kind, self._info.width):
            raise InputError(f"{folder} holds {card.kind}, {card.width} wide; expected {self.kind}, {self._info.width}")
        from index.pictures import READING  # noqa: PLC0415 - needs Pillow, of the extra `encode`

        if card.picture is not None and card.picture.reading != READING:
            raise InputError(
                f"{folder} was exported for reading {card.picture.reading} of pictures; this service has {READING}: "
                "retrain, or run the version that exported it"
            )
        return folder.absolute()


def _with_failures(outcomes: Sequence[Outcome]) -> list[Row | Failure]:
    return [Failure(one) if isinstance(one, str) else one for one in outcomes]


@asynccontextmanager
async def _alone(file: Path) -> AsyncIterator[None]:
    """Hold the lock that one process of this machine encodes under at a time."""
    with ExitStack() as stack:
        while not _entered(stack, file):
            await asyncio.sleep(LOCK_POLL_S)
        yield


def _entered(stack: ExitStack, file: Path) -> bool:
    """Whether no other process holds the lock; also true where there can be no lock, which only costs time."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        stack.enter_context(locked(file, wait=False))
    except BlockingIOError:
        return False
    except OSError as error:  # a full or read-only disk
        log.warning("several processes may encode the same content", path=str(file), error=str(error))
    return True
