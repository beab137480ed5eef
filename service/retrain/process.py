"""Trainings in a process beside the service, in a group of its own that outlives it."""

import asyncio
import json
import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic

from index.storage import replace_file
from service.retrain.job import Handle
from service.retrain.launcher import Ended, LauncherError, Task, made, tail_of

GRACE_S = 10.0  # between SIGTERM and SIGKILL
LOOK_S = 0.05
NOTE = "process.json"
SECRETS = "RECO_"  # settings of the service are none of the trainer's business, and some are secret


class ProcessLauncher:
    """Starts `command` with the trainer's arguments.

    The handle names a process beyond doubt: its id, when the kernel started it, on which machine and since which boot.
    So a service that was restarted neither takes a stranger for its trainer, nor its trainer for gone.
    """

    name = "process"

    def __init__(self, command: Sequence[str], *, niceness: int, environment: Mapping[str, str]) -> None:
        self._command = list(command)
        self._niceness = niceness
        self._environment = {name: value for name, value in environment.items() if not name.startswith(SECRETS)}
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    async def start(self, task: Task) -> Handle:
        """See Launcher. The handle is in the job's folder too, for one who is killed before the store has it."""
        return await asyncio.to_thread(self._start, task)

    def _start(self, task: Task) -> Handle:
        noted = task.folder / NOTE
        if noted.is_file():
            handle: Handle = json.loads(noted.read_bytes())
            return handle
        handle = self._started(task)
        replace_file(noted, json.dumps(handle).encode())
        return handle

    def _started(self, task: Task) -> Handle:
        try:
            with task.log.open("ab") as log:
                child = subprocess.Popen(
                    [*self._command, *task.arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=self._environment,
                    start_new_session=True,
                )
        except OSError as error:
            raise LauncherError(f"{self._command[0]} cannot be started: {error.strerror or error}") from None
        self._children[child.pid] = child
        if self._niceness:
            os.setpriority(os.PRIO_PGRP, child.pid, self._niceness)
        return {"pid": child.pid, "started": started(child.pid) or "", "machine": machine()}

    async def ended(self, task: Task, handle: Handle, told: Mapping[str, str]) -> Ended | None:
        """See Launcher."""
        if self._is_alive(handle):
            return None
        ended = made(task, self._reason(task, handle))
        if self._children.pop(int(handle["pid"]), None) is not None:
            _signal_group(int(handle["pid"]), signal.SIGKILL)  # workers that outlived their leader
        return ended

    def _reason(self, task: Task, handle: Handle) -> str:
        child = self._children.get(int(handle["pid"]))
        if child is None:
            if handle["machine"] != machine():
                return "lost: it ran on another machine, or before this one was started anew"
            return "lost: the trainer ended while no service followed it"
        last = next(iter(tail_of(task.log, 1)), "it said nothing")
        code = child.returncode
        if code < 0:
            return f"the trainer was ended by signal {-code}; its last line: {last}"
        return f"the trainer ended with status {code}: {last}"

    def _is_alive(self, handle: Handle) -> bool:
        pid = int(handle["pid"])
        child = self._children.get(pid)
        if child is not None:
            return child.poll() is None  # reaps it
        return handle["machine"] == machine() and started(pid) == handle["started"]

    async def tail(self, task: Task, handle: Handle | None, lines: int) -> Sequence[str]:
        """See Launcher."""
        return await asyncio.to_thread(tail_of, task.log, lines)

    async def cancel(self, task: Task, handle: Handle) -> None:
        """See Launcher. The whole group is asked to end, then made to."""
        if not self._is_alive(handle):
            return  # and its number may be a stranger's by now
        group = int(handle["pid"])
        _signal_group(group, signal.SIGTERM)
        until = monotonic() + GRACE_S
        while self._is_alive(handle) and monotonic() < until:
            await asyncio.sleep(LOOK_S)
        _signal_group(group, signal.SIGKILL)  # also workers that outlive their leader
        while self._is_alive(handle):
            await asyncio.sleep(LOOK_S)
        self._children.pop(group, None)

    async def close(self) -> None:
        """See Launcher. Trainings go on: the next service takes them up."""


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return


def started(pid: int) -> str | None:
    """When the kernel started the process, in ticks since the boot; None where it runs no more, or not on Linux."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]  # the name, which may hold anything, ends at the last ")"


def machine() -> str:
    """This machine since its last boot; of a container, this container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = ""
    return f"{socket.gethostname()} {boot}"
