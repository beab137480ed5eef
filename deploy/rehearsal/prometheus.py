"""Prometheus with the rules that ship, looking often enough to see a fault that lasts seconds."""

from collections.abc import Sequence
from pathlib import Path

from deploy.rehearsal.process import Process
from deploy.scraping import command_line
from deploy.stack import free_port

EVERY = "2s"


def prometheus(program: str, folder: Path, ports: Sequence[int]) -> tuple[Process, int]:
    """The process, to be started, and its port. It scrapes the replicas on these ports."""
    folder.mkdir()
    port = free_port()
    return Process("prometheus", command_line(program, folder, port, ports, EVERY), folder / "log"), port
