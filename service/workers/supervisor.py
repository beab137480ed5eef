"""Starts the workers, watches them, restarts those that end, and passes signals on.

The supervisor forks each worker from itself, so that a restart costs no imports. It holds the listening sockets of all:
connections to a worker that has died wait there for its successor. It serves nothing itself, and has no threads.
"""

import os
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import structlog

from index.errors import InputError
from service.workers.shared_memory import SharedMemory
from service.workers.worker import Worker, inbox_path

TICK_S = 1.0  # between two looks at the heartbeats
STUCK_TICKS = 30  # without a heartbeat, after which a worker is killed
RESTART_S = 0.5  # the second restart in a row waits so long, each further one twice as long; the first one not at all
CRASHES = 5  # of one worker within CRASH_WINDOW_S end the service
CRASH_WINDOW_S = 60.0
KILL_S = 10.0  # beyond the time that a graceful stop may take
INBOX_BACKLOG = 128
MOST_ERROR_BYTES = 4_096  # of a message through a pipe, which Linux writes at once
FAILED, WRONG_INPUT = 1, 2  # exit statuses
STOPPING = (signal.SIGTERM, signal.SIGINT)

Serve = Callable[[Worker, list[socket.socket]], None]

log = structlog.get_logger()


@dataclass
class _Slot:
    """One worker's place."""

    number: int
    sockets: list[socket.socket]  # that it listens on
    inbox: socket.socket
    pid: int | None = None
    start_at: float = 0.0  # where none runs
    ends: deque[float] = field(default_factory=lambda: deque(maxlen=CRASHES))
    beats: int = 0
    ticks_without: int = 0


class Supervisor:
    """Runs `serve(worker, sockets)` in as many processes as there are lists of sockets, until a signal ends them."""

    def __init__(self, serve: Serve, sockets: Sequence[list[socket.socket]], folder: Path, *, stop_s: float) -> None:
        """`stop_s`: how long a worker may take to stop by itself."""
        self._serve = serve
        self._stop_s = stop_s + KILL_S
        self._folder = folder
        self._memory = SharedMemory.create(len(sockets))
        self._slots = [_Slot(number, own, _inbox(folder, number)) for number, own in enumerate(sockets)]
        for slot in self._slots:
            self._memory.table.show_ready(slot.number, ready=False, now=time.monotonic())
        self._lifeline, self._lifeline_end = os.pipe()
        self._errors, self._error_end = os.pipe()
        os.set_blocking(self._errors, False)
        self._wake, self._wake_end = os.pipe()
        os.set_blocking(self._wake_end, False)
        self._signals: list[int] = []
        self._kill_at: float | None = None  # set once the service stops
        self._was_whole = False
        self._status = 0
        self._tick_at = time.monotonic() + TICK_S

    def run(self) -> int:
        """Serve until a signal or a crash loop; return the exit status, negative for the signal that was sent.

        InputError where the first worker that fails to start says so.
        """
        with self._signals_caught():
            for slot in self._slots:
                self._start(slot)
            while any(slot.pid for slot in self._slots) or self._kill_at is None:
                self._pass_signals_on()
                self._restart_due()
                self._sleep()
                self._reap()
                self._watch()
        self._raise_error()
        return -self._signals[0] if self._signals else self._status

    @contextmanager
    def _signals_caught(self) -> Iterator[None]:
        handlers = {number: signal.signal(number, self._on_signal) for number in (*STOPPING, signal.SIGCHLD)}
        signal.set_wakeup_fd(self._wake_end, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(-1)
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, _: object) -> None:
        if number in STOPPING:
            self._signals.append(number)

    def _sleep(self) -> None:
        """Until a signal, a restart that is due, or the next look at the heartbeats."""
        due = [slot.start_at for slot in self._slots if slot.pid is None and self._kill_at is None]
        until = min([self._tick_at, *due])
        if select.select([self._wake], [], [], max(0.0, until - time.monotonic()))[0]:
            os.read(self._wake, 1_024)

    # Starting

    def _start(self, slot: _Slot) -> None:
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, (*STOPPING, signal.SIGCHLD))
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            pid = os.fork()
            if pid == 0:
                self._be_worker(slot, blocked)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        slot.pid, slot.beats, slot.ticks_without = pid, self._memory.table.beats(slot.number), 0
        log.info("worker started", worker=slot.number, pid=pid)

    def _be_worker(self, slot: _Slot, blocked: "set[int | signal.Signals]") -> NoReturn:
        """The child: serve, and never return into the code of the supervisor."""
        status = FAILED
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._close_what_is_not_of(slot)
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            self._serve(Worker(slot.number, self._memory, self._folder, slot.inbox, self._lifeline), slot.sockets)
            status = 0
        except (InputError, OSError) as error:
            status = WRONG_INPUT
            os.write(self._error_end, f"{error}\n".encode()[-MOST_ERROR_BYTES:])
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else FAILED
        except KeyboardInterrupt:
            status = 128 + signal.SIGINT
        except BaseException:
            traceback.print_exc()
        finally:
            with suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def _close_what_is_not_of(self, slot: _Slot) -> None:
        for end in (self._lifeline_end, self._wake, self._wake_end, self._errors):
            os.close(end)
        for other in self._slots:
            if other is not slot:
                for one in (*other.sockets, other.inbox):
                    one.close()

    # Watching

    def _reap(self) -> None:
        self._was_whole = self._was_whole or not self._memory.table.not_ready_s(time.monotonic())
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:  # as process 1 of a container also of others' children
                for slot in self._slots:
                    if slot.pid == ended[0]:
                        self._note_end(slot, os.waitstatus_to_exitcode(ended[1]))

    def _note_end(self, slot: _Slot, status: int) -> None:
        slot.pid = None
        self._memory.table.show_ready(slot.number, ready=False, now=time.monotonic())
        if self._kill_at is None:
            log.error("worker ended unexpectedly", worker=slot.number, status=status)
            self._plan_restart(slot)

    def _plan_restart(self, slot: _Slot) -> None:
        """When to start the worker again; where it never served or crashes in a loop, the whole service stops."""
        now = time.monotonic()
        slot.ends.append(now)
        recent = [at for at in slot.ends if now - at < CRASH_WINDOW_S]
        if not self._was_whole:
            self._stop(f"worker {slot.number} did not start")
        elif len(recent) >= CRASHES:
            self._stop(f"worker {slot.number} ended {CRASHES} times within {CRASH_WINDOW_S:g} s")
        else:
            wait_s = RESTART_S * 2.0 ** (len(recent) - 2) if len(recent) > 1 else 0.0
            slot.start_at = now + wait_s

    def _restart_due(self) -> None:
        now = time.monotonic()
        for slot in self._slots:
            if slot.pid is None and self._kill_at is None and slot.start_at <= now:
                self._memory.table.count_restart(slot.number)
                try:
                    self._start(slot)
                except OSError as error:  # no memory or no processes left
                    log.error("worker cannot be started", worker=slot.number, error=str(error))
                    self._plan_restart(slot)

    def _watch(self) -> None:
        """Kill a worker whose event loop is stuck, and all that do not stop in time."""
        now, table = time.monotonic(), self._memory.table
        if self._kill_at is not None and now >= self._kill_at:
            self._send(signal.SIGKILL)
        if now < self._tick_at:
            return
        self._tick_at = now + TICK_S  # ticks, not seconds: while the machine sleeps nothing is counted
        for slot in self._slots:
            beats = table.beats(slot.number)
            if slot.pid is None or beats != slot.beats or not table.is_ready(slot.number):
                slot.beats, slot.ticks_without = beats, 0
                continue
            slot.ticks_without += 1
            if slot.ticks_without >= STUCK_TICKS:
                log.error("worker is stuck and is killed", worker=slot.number, pid=slot.pid)
                os.kill(slot.pid, signal.SIGKILL)

    # Stopping

    def _pass_signals_on(self) -> None:
        """The first signal stops the workers gracefully; a second SIGINT makes them stop at once."""
        if self._signals and self._kill_at is None:
            self._stop(None)
        elif signal.SIGINT in self._signals[1:]:
            del self._signals[1:]
            self._send(signal.SIGINT)

    def _stop(self, why: str | None) -> None:
        if why is not None:
            log.error("the service stops", why=why)
            self._status = FAILED
        self._kill_at = time.monotonic() + self._stop_s
        for slot in self._slots:
            for one in slot.sockets:  # only the workers' own copies go on accepting
                one.close()
        self._send(signal.SIGTERM)

    def _send(self, number: signal.Signals) -> None:
        for slot in self._slots:
            if slot.pid is not None:
                os.kill(slot.pid, number)

    def _raise_error(self) -> None:
        if self._was_whole or not self._status:
            return
        with suppress(BlockingIOError):
            first = os.read(self._errors, MOST_ERROR_BYTES).decode(errors="replace").partition("\n")[0]
            raise InputError(first)


def _inbox(folder: Path, number: int) -> socket.socket:
    inbox = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    inbox.bind(str(inbox_path(folder, number)))
    inbox.listen(INBOX_BACKLOG)
    inbox.setblocking(False)
    return inbox


def run_workers(serve: Serve, sockets: Sequence[list[socket.socket]], *, stop_s: float) -> int:
    """Supervise one worker for each list of sockets; return the exit status, or end by the signal that was sent."""
    folder = Path(tempfile.mkdtemp(prefix="anchorrec-"))  # with mode 0700
    try:
        status = Supervisor(serve, sockets, folder, stop_s=stop_s).run()
    finally:  # in the supervisor alone: a worker never returns from its fork
        shutil.rmtree(folder, ignore_errors=True)
    if status < 0:
        signal.raise_signal(-status)
    return status
