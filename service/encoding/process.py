"""The encoding process, seen from the service: started when it is needed, restarted with backoff, stopped when idle."""

import asyncio
import os
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import structlog

from service.encoding.frames import Outcome, pack, receive_frame
from service.settings import EncodingSettings
from service.telemetry.metrics import EncodingMetrics

COMMAND = (sys.executable, "-m", "service.encoding.worker")
START_S = 60.0  # until a new process has imported what it needs
IDLE_S = 300.0  # without work, after which the process is stopped: its memory is worth more than half a second
FIRST_S, MAX_S = 0.5, 60.0  # backoff from the second failure in a row on
ENDING_S = 1.0  # for an idle process to end by itself, when the service stops
LONGEST_WAIT_S = 2.0  # a longer backoff refuses work in place of waiting
NICENESS = 5
STDERR_LINES = 20
SETTINGS_PREFIX = "RECO_"  # removed from its environment: some of the service's settings are secret
FLOAT_BYTES = 4

log = structlog.get_logger()


class ProcessFailedError(Exception):
    """The process ended, took too long or sent nonsense while it had this work; another one does the next."""

    def __init__(self, reason: str, *, timed_out: bool = False) -> None:
        super().__init__(reason)
        self.timed_out = timed_out


class EncodingProcess:
    """One process at most, with one batch at a time."""

    def __init__(self, settings: EncodingSettings, metrics: EncodingMetrics) -> None:
        self._settings, self._metrics = settings, metrics
        self._process: asyncio.subprocess.Process | None = None
        self._ending: asyncio.subprocess.Process | None = None  # the last one that was stopped as idle
        self._stderr: deque[str] = deque(maxlen=STDERR_LINES)
        self._reader: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        self._failures, self._rests_until = 0, 0.0
        self._idle: asyncio.TimerHandle | None = None
        self.problem: str | None = None  # of the last batch

    @property
    def pid(self) -> int | None:
        """Of the process that runs; None while there is none."""
        return None if self._process is None else self._process.pid

    async def encode(self, encoder: Path, width: int, contents: Sequence[bytes]) -> list[Outcome]:
        """The features of each content, or why there are none; ProcessFailedError where the process fails."""
        async with self._lock:
            await self._rest()
            try:
                await self._start()
                async with asyncio.timeout(self._settings.encode_timeout_s):
                    outcomes = await self._exchange(encoder, width, contents)
            except asyncio.CancelledError:
                await self._stop()  # its answer would be taken for that of the next batch
                raise
            except (TimeoutError, OSError, EOFError, ValueError) as error:
                raise await self._failed(error) from error
        self._failures, self.problem = 0, None
        return outcomes

    async def _exchange(self, encoder: Path, width: int, contents: Sequence[bytes]) -> list[Outcome]:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        header = {"encoder": str(encoder), "sizes": [len(content) for content in contents]}
        process.stdin.write(pack(header, b"".join(contents)))
        await process.stdin.drain()
        header, body = await receive_frame(process.stdout, len(contents) * width * FLOAT_BYTES)
        self._stop_when_idle()
        return _outcomes(header.get("problems"), body, len(contents), width)

    async def _start(self) -> None:
        if self._process is None:
            process = await self._begin()
            assert process.stdout is not None
            try:
                await asyncio.wait_for(receive_frame(process.stdout, 0), START_S)  # it is ready
            except TimeoutError:
                raise TimeoutError(f"it did not start within {START_S:g} s") from None

    async def _begin(self) -> asyncio.subprocess.Process:
        settings, pipe = self._settings, asyncio.subprocess.PIPE
        environment = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS_PREFIX)}
        self._process = process = await asyncio.create_subprocess_exec(
            *COMMAND,
            str(settings.encode_memory_mb),
            str(settings.encode_threads),
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            env=environment | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, process.pid, NICENESS)
        self._stderr.clear()
        self._reader = asyncio.create_task(self._read_stderr(process))
        self._metrics.encoder_starts.inc()
        return process

    async def _read_stderr(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        with suppress(ValueError):  # a line longer than the reader's limit
            while line := await process.stderr.readline():
                self._stderr.append(line.decode(errors="replace").strip())

    async def _failed(self, error: Exception) -> ProcessFailedError:
        reason = await self._reason(error)
        self._failures += 1
        backoff_s = 0.0 if self._failures == 1 else min(MAX_S, FIRST_S * 2.0 ** min(self._failures - 2, 30))
        self._rests_until = time.monotonic() + backoff_s
        self.problem = reason
        self._metrics.encoder_failures.inc()
        log.warning("the encoding process failed", reason=reason, restart_in_s=backoff_s)
        return ProcessFailedError(reason, timed_out=isinstance(error, TimeoutError))

    async def _reason(self, error: Exception) -> str:
        if isinstance(error, TimeoutError):
            await self._stop()
            return str(error) or f"it took longer than {self._settings.encode_timeout_s:g} s (RECO_ENCODE_TIMEOUT_S)"
        if isinstance(error, ValueError):
            await self._stop()
            return f"it sent {error}"
        status = await self._stop(grace_s=1.0)
        last = next((line for line in reversed(self._stderr) if line), "")
        if status is not None and status < 0:
            return f"it was ended by signal {-status}" + (f": {last}" if last else "")
        return last or f"{type(error).__name__}: {error}"

    async def _rest(self) -> None:
        wait_s = self._rests_until - time.monotonic()
        if wait_s > LONGEST_WAIT_S:
            raise ProcessFailedError(f"it failed {self._failures} times in a row: {self.problem}")
        await asyncio.sleep(max(0.0, wait_s))

    def _stop_when_idle(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(IDLE_S, self._begin_stop)

    def _begin_stop(self) -> None:
        if not self._lock.locked() and self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()  # it ends at the end of its input
            self._ending, self._process = self._process, None

    async def close(self) -> None:
        """End the process."""
        if self._idle is not None:
            self._idle.cancel()
        if self._ending is not None:
            await _ended(self._ending, ENDING_S)
        await self._stop()

    async def _stop(self, grace_s: float = 0.0) -> int | None:
        """End the process, if there is one, after as long as it may take to end by itself; returns its status."""
        process, self._process = self._process, None
        if process is None:
            return None
        await _ended(process, grace_s)
        if self._reader is not None:
            await self._reader
        return process.returncode


async def _ended(process: asyncio.subprocess.Process, grace_s: float) -> None:
    """Wait until the process has ended; after `grace_s` it is killed."""
    try:
        await asyncio.wait_for(process.wait(), grace_s)
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _outcomes(problems: object, body: bytes, n: int, width: int) -> list[Outcome]:
    """What an answer says; ValueError unless it is about n contents. A decoder may have been made to send anything."""
    if not isinstance(problems, list) or len(problems) != n:
        raise ValueError(f"an answer about other contents than the {n} that it was sent")
    made = [problem is None for problem in problems]
    if len(body) != sum(made) * width * FLOAT_BYTES:
        raise ValueError(f"an answer of {len(body):,} bytes for {sum(made)} rows of {width}")
    rows = iter(np.frombuffer(body, "<f4").reshape(-1, width))
    found = [next(rows) if one else str(problem)[:300] for one, problem in zip(made, problems, strict=True)]
    return [one if isinstance(one, str) or np.isfinite(one).all() else "its features are not finite" for one in found]
