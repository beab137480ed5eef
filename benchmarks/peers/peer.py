"""The peers: the packages, the program, the request and the response of each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from loadtests.workloads import raw

COMMON = ("faiss-cpu>=1.12", "numpy>=2.0", "orjson>=3.10")

MakeRequest = Callable[[str, int], bytes]  # from user id and k to a raw HTTP request
ReadItems = Callable[[Any], list[str]]  # from a response to its item ids


def _posted(path: str) -> MakeRequest:
    return lambda user_id, k: raw(path, body=orjson.dumps({"user_id": user_id, "k": k}))


def _scored(content: Any) -> list[str]:
    return [item["item_id"] for item in content["items"]]


@dataclass(frozen=True)
class Peer:
    """One serving framework; our program for it is `benchmarks/peers/NAME_server.py`."""

    name: str
    packages: tuple[str, ...]  # in addition to the common ones
    request: MakeRequest
    items: ReadItems = _scored
    program: tuple[str, ...] = ()  # of its environment, where our file is no program; with {port}
    environment: Mapping[str, str] = field(default_factory=dict)  # with {redis}: host, port and database

    @property
    def module(self) -> str:
        """The module name of our program."""
        return f"benchmarks.peers.{self.name}_server"


LITSERVE = Peer("litserve", ("litserve==0.2.19",), _posted("/predict"))
BENTOML = Peer(
    "bentoml",
    ("bentoml==1.4.40", "uvloop", "httptools"),
    _posted("/recommend"),
    program=(
        "bentoml",
        "serve",
        "benchmarks.peers.bentoml_server:BentoRecommender",
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
    # The first setting is the recommendation of Ray's performance guide.
    environment={"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1", "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"},
)
CORNAC = Peer(
    "cornac",
    ("cornac==3.0.1", "flask", "gunicorn"),
    lambda user_id, k: raw(f"/recommend?uid={user_id}&k={k}&remove_seen=true"),
    lambda content: list(content["recommendations"]),
)
LIBRECOMMENDER = Peer(
    "librecommender",
    ("librecommender==1.5.2", "sanic", "ujson", "redis", "pydantic<3"),
    lambda user_id, k: raw(
        "/embed/recommend", body=orjson.dumps({"user": user_id, "n_rec": k, "user_feats": None, "seq": None})
    ),
    lambda content: list(next(iter(content.values()))),
    environment={"REDIS_HOST": "{redis}"},
)
PEERS = {peer.name: peer for peer in (LITSERVE, BENTOML, MOSEC, RAY, CORNAC, LIBRECOMMENDER)}
