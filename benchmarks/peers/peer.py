"""The peers: what each needs, how it is started, how it is asked, and which items it answered with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from loadtests.workloads import raw

COMMON = ("faiss-cpu>=1.12", "numpy>=2.0", "orjson>=3.10")

Request = Callable[[str, int], bytes]  # by user id and k, as it goes over the wire
Items = Callable[[Any], list[str]]  # the item ids of an answer


def _posted(path: str) -> Request:
    return lambda user_id, k: raw(path, body=orjson.dumps({"user_id": user_id, "k": k}))


def _scored(answer: Any) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


@dataclass(frozen=True)
class Peer:
    """One serving framework: what is of ours in it stands in `benchmarks/peers/NAME_server.py`."""

    name: str
    packages: tuple[str, ...]  # beside the common ones
    request: Request
    items: Items = _scored
    program: tuple[str, ...] = ()  # of its environment, if our file is no program; {port} is where it shall listen
    environment: Mapping[str, str] = field(default_factory=dict)  # {redis} is a Redis: host, port and database

    @property
    def module(self) -> str:
        """Our file."""
        return f"benchmarks.peers.{self.name}_server"


LITSERVE = Peer("litserve", ("litserve==0.2.19",), _posted("/predict"))
BENTOML = Peer(
    "bentoml",
    ("bentoml==1.4.40", "uvloop", "httptools"),
    _posted("/recommend"),
    program=(
        "bentoml",
        "serve",
        "benchmarks.peers.bentoml_server:Recommend",
        "--host",
        "127.0.0.1",
        "--port",
        "{port}",
    ),
    environment={"BENTOML_DO_NOT_TRACK": "True"},
)
MOSEC = Peer("mosec", ("mosec==0.9.8",), _posted("/inference"))
RAY = Peer(
    "ray",
    ("ray[serve]==2.60.0",),
    _posted("/"),
    # The first is what its guide to performance recommends.
    environment={"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1", "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"},
)
CORNAC = Peer(
    "cornac",
    ("cornac==3.0.1", "flask", "gunicorn"),
    lambda user_id, k: raw(f"/recommend?uid={user_id}&k={k}&remove_seen=true"),
    lambda answer: list(answer["recommendations"]),
)
LIBRECOMMENDER = Peer(
    "librecommender",
    ("librecommender==1.5.2", "sanic", "ujson", "redis", "pydantic<3"),
    lambda user_id, k: raw(
        "/embed/recommend", body=orjson.dumps({"user": user_id, "n_rec": k, "user_feats": None, "seq": None})
    ),
    lambda answer: list(next(iter(answer.values()))),
    environment={"REDIS_HOST": "{redis}"},
)
PEERS = {peer.name: peer for peer in (LITSERVE, BENTOML, MOSEC, RAY, CORNAC, LIBRECOMMENDER)}
