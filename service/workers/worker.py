"""What one worker knows of itself and the others; the supervisor hands it over."""

import socket
from dataclasses import dataclass
from pathlib import Path

from service.settings import Settings
from service.workers.shared_memory import SharedMemory


@dataclass(frozen=True)
class Worker:
    """One of the processes, numbered from 0."""

    number: int
    memory: SharedMemory
    folder: Path  # of this run, readable by its owner only; holds the workers' sockets and their last metrics
    inbox: socket.socket  # a Unix socket on which the others ask this one
    lifeline: int  # a file descriptor that ends when the supervisor has died

    @property
    def n_workers(self) -> int:
        return self.memory.table.n

    @property
    def others(self) -> list[int]:
        """The numbers of the other workers."""
        return [number for number in range(self.n_workers) if number != self.number]


def inbox_path(folder: Path, number: int) -> Path:
    """The address of a worker's inbox."""
    return folder / f"{number}.sock"


def share_of(settings: Settings, n_workers: int, number: int) -> Settings:
    """The settings of one worker: limits and caches of the whole service are divided, so that they add up.

    Copies of bundles from a bucket have a folder for each worker, since one process at a time may change such a folder.
    """
    divided = {
        name: -(-value // n_workers)
        for name in ("max_in_flight", "max_connections", "events_waiting", "answer_cache_mb")
        if (value := getattr(settings, name)) is not None
    }
    changes = {**divided, "profile_cache_mb": settings.profile_cache_mb / n_workers}
    if settings.registry_copies is not None:
        changes["registry_copies"] = settings.registry_copies / f"worker-{number}"
    return settings.model_copy(update=changes)
