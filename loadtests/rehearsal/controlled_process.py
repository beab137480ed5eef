"""A server process that can be stopped, killed, frozen, limited in file size, and started again on the same port."""

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
    """A process that `start` starts; its output is appended to `log` at every start."""

    name: str
    command: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    _running: "subprocess.Popen[bytes] | None" = None

    @property
    def pid(self) -> int:
        """The id of the running process. InputError with the last line of its log where it has ended."""
        if self._running is None or self._running.poll() is not None:
            raise InputError(f"{self.name} has ended: {self.last_line()}")
        return self._running.pid

    def start(self) -> None:
        """Start the process without waiting until it is ready."""
        with self.log.open("ab") as file:
            # Python ignores SIGXFSZ, and so do its children then: exceeding a file size limit is an error to them.
            self._running = subprocess.Popen(
                self.command,
                env=dict(self.environment),
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                restore_signals=False,
            )

    def stop(self) -> None:
        """Send SIGTERM and wait for the end. InputError where the process does not end."""
        if self._running is None:
            return
        self._running.terminate()
        try:
            self._running.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise InputError(f"{self.name} did not end within {STOP_S:.0f} s of SIGTERM") from None

    def kill(self) -> None:
        """Kill the process and all its children with SIGKILL."""
        if self._running is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._running.pid, signal.SIGKILL)
        self._running.wait()

    def freeze(self) -> None:
        """Suspend the process; the kernel still accepts connections for it."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume the process."""
        os.kill(self.pid, signal.SIGCONT)

    def limit_files(self, most: int = UNLIMITED) -> None:
        """Limit the size of the files that the process writes; to the process this is a full disk. Needs no root."""
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (most, UNLIMITED))

    def last_line(self) -> str:
        """Return the last line of its log."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return lines[-1] if lines else "no output"
