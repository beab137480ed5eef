"""Disks that refuse: full ones, and folders that nobody may write into."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from servers import quiet_logs

FORBIDDEN = Path("/sys/anchorrec")
"""A folder that cannot be made, not even by root."""


@contextmanager
def full_disk(room: int = 0) -> Iterator[None]:
    """While the context is open no file of this process can grow beyond `room` bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with quiet_logs():  # and no line of the log, which pytest keeps in a file
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
