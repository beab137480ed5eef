"""Reads the memory and disk space of the process from the system; nan where the system does not report them."""

import math
import os
import shutil
from pathlib import Path

STATUS = Path("/proc/self/status")
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")  # a container sees its own limit here (cgroup v2)
KIB = 1024


def anonymous_bytes(status: Path = STATUS) -> float:
    """The resident memory of the process without pages mapped from files, which the kernel can evict."""
    try:
        lines = status.read_text().splitlines()
    except OSError:
        return math.nan
    return next((float(line.split()[1]) * KIB for line in lines if line.startswith("RssAnon:")), math.nan)


def memory_limit_bytes(limit: Path = CGROUP_LIMIT) -> float:
    """The smaller of the container's memory limit and the machine's memory."""
    machine = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    try:
        return min(machine, float(limit.read_text()))
    except (OSError, ValueError):  # no cgroup v2, or "max"
        return machine


def free_share(folder: Path) -> float:
    """The free share of the file system that the folder is on."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return math.nan
    return usage.free / usage.total
