"""Starts a peer in a process group of its own and checks its response before it is measured."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.peers.flat_index import BUNDLE, PORT
from benchmarks.peers.peer import Peer
from deploy.processes import Child, child, free_port
from index.bundle import Bundle
from index.errors import InputError

ROOT = Path(__file__).parents[2]
START_S = 300.0  # Ray starts a dozen processes; LibRecommender writes every user to Redis
CHECKED_USERS = ("user-0", "user-1", "user-2")


@dataclass(frozen=True)
class PeerInput:
    """What every peer serves."""

    bundle: Bundle
    redis: str  # host, port and database
    k: int


@contextmanager
def running_peer(peer: Peer, programs: Path, given: PeerInput) -> Iterator[Child]:
    """Run the peer and yield it once it returns the right items. InputError where it does not."""
    port = free_port()
    with (
        tempfile.TemporaryDirectory(prefix="peer-") as home,  # a short name: Ray puts sockets into it
        child(
            _command(peer, programs, port),
            port,
            _environment(peer, programs, port, Path(home), given),
            lambda client: send(peer, client, CHECKED_USERS[0], given.k).status_code == httpx.codes.OK,
            START_S,
        ) as found,
    ):
        check_items(peer, found.client, given)
        yield found


def check_items(peer: Peer, client: httpx.Client, given: PeerInput) -> None:
    """Raise InputError unless the peer returns the items that our index finds."""
    for user_id in CHECKED_USERS:
        found, expected = (
            peer.items(send(peer, client, user_id, given.k).json()),
            best_items(given.bundle, user_id, given.k),
        )
        if found != expected:
            raise InputError(f"it returned {found} for {user_id}; expected {expected}")


def best_items(bundle: Bundle, user_id: str, k: int) -> list[str]:
    """Return the user's k best unseen items by our index."""
    row = bundle.user_ids.row(user_id)
    assert row is not None
    rows, _ = bundle.index().search(bundle.user_embeddings[row], k, bundle.seen(row))
    return [bundle.item_ids[int(item)] for item in rows[0]]


def send(peer: Peer, client: httpx.Client, user_id: str, k: int) -> httpx.Response:
    """Send the measured request with a client that parses the response."""
    head, _, body = peer.request(user_id, k).partition(b"\r\n\r\n")
    method, path, _ = head.split(b"\r\n")[0].decode().split(" ")
    return client.request(method, path, content=body or None, headers={"Content-Type": "application/json"})


def _command(peer: Peer, programs: Path, port: int) -> Sequence[str]:
    if not peer.program:
        return [str(programs / "python"), "-m", peer.module]
    program, *arguments = peer.program
    return [str(programs / program), *(argument.format(port=port) for argument in arguments)]


def _environment(peer: Peer, programs: Path, port: int, home: Path, given: PeerInput) -> dict[str, str]:
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    ours = {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        # Files that a peer writes are deleted with this folder.
        "HOME": str(home),
        "TMPDIR": str(home),
        "RAY_TMPDIR": str(home),
        BUNDLE: str(given.bundle.path),
        PORT: str(port),
    }
    own = {name: value.format(redis=given.redis) for name, value in peer.environment.items()}
    return dict(os.environ) | one_thread | ours | own
