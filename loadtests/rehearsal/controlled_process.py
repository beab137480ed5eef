"""A server process that can be stopped, killed, frozen, filled up and started again on the same port."""

import os
import resource
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from deploy.processes import STOP_S
from index.errors import InputError

UNLIMITED = resource.RLIM_INFINITY


@dataclass
class ControlledProcess:
    """Started by `start`; its words go to `log`, from one start to the next."""

    name: str
    command: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    _running: "subprocess.Popen[bytes] | None" = None

    @property
    def pid(self) -> int:
        """Of the process that runs; InputError, with its last words, where none does."""
        if self._running is None or self._running.poll() is not None:
            raise InputError(f"{self.name} has ended: {self.last_words()}")
        return self._running.pid

    def start(self) -> None:
        """Start it; whether it is ready is for others to ask."""
        with self.log.open("ab") as file:
            # Python ignores SIGXFSZ, and so do its children then: a full disk is an error to them, and not their end.
            self._running = subprocess.Popen(
                self.command,
                env=dict(self.environment),
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                restore_signals=False,
            )

    def stop(self) -> None:
        """Ask it to end, and wait until it has; InputError where it does not."""
        if self._running is None:
            return
        self._running.terminate()
        try:
            self._running.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise InputError(f"{self.name} did not end within {STOP_S:.0f} s of SIGTERM") from None

    def kill(self) -> None:
        """End it without asking (kill -9), with all that it started."""
        if self._running is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._running.pid, signal.SIGKILL)
        self._running.wait()

    def freeze(self) -> None:
        """Let it hang: the kernel goes on taking connections for it."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def limit_files(self, most: int = UNLIMITED) -> None:
        """No file of it may grow beyond so many bytes: to the process a full disk, without being root."""
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (most, UNLIMITED))

    def last_words(self) -> str:
        """The last line of its log."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return lines[-1] if lines else "it said nothing"
