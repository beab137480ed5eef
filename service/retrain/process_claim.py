"""Becomes a job's training unless another process has: run between the service and the trainer, which replaces it.

`python process_claim.py FILE NICENESS COMMAND ...`. Whenever the service dies, it leaves no training, or one whose
handle is in the job's folder. It runs alone, so it imports nothing of ours.
"""

import json
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

CANNOT_START = 127  # as of a shell


def main(file: str, niceness: str, *command: str) -> int:
    """Claim the job and become the trainer; 0 where another process has claimed it."""
    if not claim(Path(file), {"pid": os.getpid(), "started": start_time(os.getpid()) or "", "machine": machine_id()}):
        return 0
    os.setpriority(os.PRIO_PROCESS, 0, int(niceness))
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"{command[0]} cannot be started: {error.strerror or error}", file=sys.stderr)
        return CANNOT_START


def claim(file: Path, handle: dict[str, str | int]) -> bool:
    """Create the file with the handle in it, at once; False where it exists."""
    own = file.with_name(f"{file.name}.{os.getpid()}")
    own.write_text(json.dumps(handle), encoding="utf-8")
    try:
        os.link(own, file)
    except FileExistsError:
        return False
    finally:
        own.unlink()
    return True


def start_time(pid: int) -> str | None:
    """When the kernel started the process, in ticks since boot; None where it no longer runs, or not on Linux."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]  # the process name may contain spaces and ends at the last ")"


def machine_id() -> str:
    """The host name and boot id; in a container, the container's host name."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        boot = ""
    return f"{socket.gethostname()} {boot}"


def arguments(file: Path, niceness: int, command: Sequence[str]) -> list[str]:
    """The command line that runs `command` by this program."""
    return [sys.executable, "-IS", __file__, str(file), str(niceness), *command]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
