"""Runs trainings as processes beside the service, each in a process group that outlives the service."""

import asyncio
import errno
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from service.retrain.job import Handle
from service.retrain.launcher import LauncherError, TrainingOutcome, TrainingTask, last_lines, read_outcome
from service.retrain.process_claim import arguments, claim, machine_id, start_time

GRACE_S = 10.0  # between SIGTERM and SIGKILL
POLL_S = 0.05
CLAIM_POLL_S = 0.005
NO_TRAINING: Handle = {"pid": 0, "started": "never", "machine": ""}
HANDLE_FILE = "process.json"
SETTINGS_PREFIX = "RECO_"  # removed from the trainer's environment: some of the service's settings are secret


class ProcessLauncher:
    """Starts `command` with the trainer's arguments.

    The handle identifies a process without doubt: its id, its start time by the kernel, the machine and its boot. So a
    restarted service does not mistake another process for its trainer, and does not lose a trainer that still runs.
    """

    name = "process"

    def __init__(self, command: Sequence[str], *, niceness: int, environment: Mapping[str, str]) -> None:
        self._command = list(command)
        self._niceness = niceness
        self._environment = {name: value for name, value in environment.items() if not name.startswith(SETTINGS_PREFIX)}
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    async def start(self, task: TrainingTask) -> Handle:
        return await asyncio.to_thread(self._start_once, task)

    def _start_once(self, task: TrainingTask) -> Handle:
        file = task.folder / HANDLE_FILE
        child = None if file.is_file() else self._spawn(task, file)  # it is there if an earlier service started it
        handle: Handle = json.loads(file.read_bytes())
        if child is not None and child.pid == handle["pid"]:
            self._children[child.pid] = child
        return handle

    def _spawn(self, task: TrainingTask, file: Path) -> "subprocess.Popen[bytes]":
        """Start a process that claims the job, and wait for the claim; one of an earlier service may be first."""
        program = self._command[0]
        if shutil.which(program, path=self._environment.get("PATH")) is None:
            raise LauncherError(f"{program} cannot be started: {os.strerror(errno.ENOENT)}")
        with task.log.open("ab") as log:
            child = subprocess.Popen(
                arguments(file, self._niceness, [*self._command, *task.arguments]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )
        while not file.is_file():
            if child.poll() is not None and not file.is_file():
                raise LauncherError(f"{program} cannot be started: {next(iter(last_lines(task.log, 1)), '')}")
            time.sleep(CLAIM_POLL_S)
        return child

    async def find(self, task: TrainingTask) -> Handle | None:
        return await asyncio.to_thread(self._find, task)

    def _find(self, task: TrainingTask) -> Handle | None:
        """Claim the job for no process, so that one that was launched cannot begin the training later."""
        file = task.folder / HANDLE_FILE
        if not file.parent.is_dir() or claim(file, NO_TRAINING):
            return None
        handle: Handle = json.loads(file.read_bytes())
        return handle

    async def poll(self, task: TrainingTask, handle: Handle, messages: Mapping[str, str]) -> TrainingOutcome | None:
        if self._is_alive(handle):
            return None
        outcome = read_outcome(task, self._failure_reason(task, handle))
        if self._children.pop(int(handle["pid"]), None) is not None:
            _signal_group(int(handle["pid"]), signal.SIGKILL)  # worker processes that outlived the trainer
        return outcome

    def _failure_reason(self, task: TrainingTask, handle: Handle) -> str:
        child = self._children.get(int(handle["pid"]))
        if child is None:
            if handle["machine"] != machine_id():
                return "lost: it ran on another machine, or before this machine rebooted"
            return "lost: the trainer ended while no service followed it"
        last = next(iter(last_lines(task.log, 1)), "it printed nothing")
        code = child.returncode
        if code < 0:
            return f"the trainer was ended by signal {-code}; its last line: {last}"
        return f"the trainer ended with status {code}: {last}"

    def _is_alive(self, handle: Handle) -> bool:
        pid = int(handle["pid"])
        child = self._children.get(pid)
        if child is not None:
            return child.poll() is None  # reaps it
        return handle["machine"] == machine_id() and start_time(pid) == handle["started"]

    async def log_tail(self, task: TrainingTask, handle: Handle | None, lines: int) -> Sequence[str]:
        return await asyncio.to_thread(last_lines, task.log, lines)

    async def cancel(self, task: TrainingTask, handle: Handle) -> None:
        """SIGTERM to the process group, then SIGKILL; when this returns none of it runs."""
        if not self._is_alive(handle):
            return  # another process may have its id by now
        group = int(handle["pid"])
        _signal_group(group, signal.SIGTERM)
        until = time.monotonic() + GRACE_S
        while self._is_alive(handle) and time.monotonic() < until:
            await asyncio.sleep(POLL_S)
        _signal_group(group, signal.SIGKILL)  # also worker processes that outlive the trainer
        while self._is_alive(handle):
            await asyncio.sleep(POLL_S)
        self._children.pop(group, None)

    async def close(self) -> None:
        """Nothing to close: trainings go on, and the next service follows them."""


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return
