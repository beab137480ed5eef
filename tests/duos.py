"""One service of two workers, as an operator starts it, and a connection to each of them."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from bundles import make_content
from processes import Running, process
from servers import CREATED, publish, wait_until

from index.bundle import write_bundle

N = 2


@dataclass
class Duo:
    """The supervisor's process, and the address of the service."""

    running: Running
    any_worker: httpx.Client
    registry: Path
    log: Path
    stack: ExitStack = field(default_factory=ExitStack)

    def pids(self) -> list[int]:
        """The workers' process ids, ascending by start."""
        return [child.pid for child in psutil.Process(self.running.pid).children()]

    def whole(self) -> bool:
        return len(self.pids()) == N and self.any_worker.get("/readyz").status_code == 200

    def connect(self) -> httpx.Client:
        client = httpx.Client(base_url=self.any_worker.base_url, timeout=60)
        return self.stack.enter_context(client)

    def clients(self) -> list[httpx.Client]:
        """A client with a connection of its own for each worker."""
        by_pid: dict[int, httpx.Client] = {}
        pids = self.pids()
        while len(by_pid) < N:
            client = self.connect()
            response = client.get("/healthz")
            port = response.extensions["network_stream"].get_extra_info("client_addr")[1]
            for pid in pids:
                if any(one.raddr and one.raddr.port == port for one in psutil.Process(pid).net_connections()):
                    by_pid.setdefault(pid, client)
        return [by_pid[pid] for pid in pids]


@contextmanager
def two_workers(folder: Path, content: Any = None, **settings: Any) -> Iterator[Duo]:
    registry, log = folder / "registry", folder / "log"
    publish(registry, content)
    fields = {"admin_open": True, "workers": N, "data": folder / "data", **settings}
    with process(registry, log, **fields) as (running, client), ExitStack() as stack:
        duo = Duo(running, client, registry, log, stack)
        wait_until(duo.whole)
        yield duo


def another_bundle(registry: Path) -> str:
    """The id of a second bundle in the registry, not published."""
    return write_bundle(registry, make_content(seed=1), created_at=CREATED).name
