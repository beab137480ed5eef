"""The same measurement on a running service: hidden items are put over HTTP, and lists are asked for."""

import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import httpx
import numpy as np
import orjson

from benchmarks.cold_items.hiding import PreparedData
from benchmarks.cold_items.recall import K, Target
from deploy.processes import SERVICE, free_port, redis_server, server
from index.errors import InputError
from index.registry import Registry

Array = np.ndarray[Any, Any]
Given = Literal["features", "raw"]

COLD = "cold_item"  # the attribute by which lists among cold items are asked for
EXPLORATION = 0.1  # the 10th and the 20th place
MOST_USERS = 400  # whose lists are asked for; more take minutes
POLL_S = 0.005
LONGEST_S = 60.0  # from PUT to the first appearance
SETTINGS = {
    "RECO_ADMIN_OPEN": "true",
    "RECO_BODY_MAX_BYTES": "4000000",
    "RECO_REDIS_URL": "",
    "RECO_ANSWER_CACHE_MB": "0",
    "RECO_LOG_IMPRESSIONS": "true",  # nothing is explored without
}


@dataclass(frozen=True)
class ServedResult:
    """What a service recommends, and the seconds from a PUT until the item is in lists."""

    given: Given
    among_cold: float
    among_all: float
    warm_before: float
    warm_after: float
    explored_among_all: float  # of cold items, with EXPLORATION
    explored_warm: float
    first_s: float  # of the first item, for which encoders start
    median_s: float
    longest_s: float  # of all but the first


def measure_served(
    data: PreparedData, hidden: Array, bundle: Path, targets: tuple[Target, Target], given: Given
) -> ServedResult:
    """Put the hidden items to a service with this bundle; the targets are those of cold and of warm items."""
    cold, warm = (target.of_some(MOST_USERS) for target in targets)
    Registry(bundle.parent).publish(bundle.name)
    rows = {item_id: row for row, item_id in enumerate(data.items["item_id"].to_list())}
    with _running(data, bundle.parent) as client:
        lists = _Lists(client, data, rows, hidden)
        warm_before = warm.recall_of_lists(lists.of(warm.users))
        seconds = [_put(client, data, row, given) for row in hidden.tolist()]
        return ServedResult(
            given,
            among_cold=cold.recall_of_lists(lists.of(cold.users, require=f"{COLD}:true")),
            among_all=cold.recall_of_lists(lists.of(cold.users)),
            warm_before=warm_before,
            warm_after=warm.recall_of_lists(lists.of(warm.users)),
            explored_among_all=cold.recall_of_lists(lists.of(cold.users, exploration=EXPLORATION)),
            explored_warm=warm.recall_of_lists(lists.of(warm.users, exploration=EXPLORATION)),
            first_s=seconds[0],
            median_s=statistics.median(seconds),
            longest_s=max(seconds[1:]),
        )


@contextmanager
def _running(data: PreparedData, registry: Path) -> Iterator[httpx.Client]:
    pictures = _pictures(data)
    images = {} if pictures is None else {"RECO_IMAGES": str(pictures)}
    with (
        tempfile.TemporaryDirectory(prefix="anchorrec-cold-") as folder,
        redis_server() as redis,
        server(
            SERVICE, registry, free_port(), redis.connection_url, settings=SETTINGS | images | {"RECO_DATA": folder}
        ) as found,
    ):
        yield found.client


def _pictures(data: PreparedData) -> Path | None:
    """The folder of the items' pictures; None where they have none."""
    folders = {Path(image).parent for image in data.items["image"].to_list() if image}
    if len(folders) > 1:
        raise InputError(f"{data.path}: pictures lie in {len(folders)} folders, expected one")
    return next(iter(folders), None)


class _Lists:
    """Asks for lists of users and returns rows of items."""

    def __init__(self, client: httpx.Client, data: PreparedData, rows: Mapping[str, int], hidden: Array) -> None:
        self._client, self._data, self._rows = client, data, rows
        users, items = data.pairs(train=True)
        past = np.isin(items, hidden)  # interactions that this bundle was not trained on
        ids = data.items["item_id"].to_list()
        self._unknown_past: dict[int, list[str]] = {}
        for user, item in zip(users[past].tolist(), items[past].tolist(), strict=True):
            self._unknown_past.setdefault(user, []).append(ids[item])

    def of(self, users: Array, **options: Any) -> list[Array]:
        return [self._rows_of(int(user), options) for user in users]

    def _rows_of(self, user: int, options: Mapping[str, Any]) -> Array:
        path = f"/recommend/{quote(self._data.user_ids[user], safe='')}"
        answer = self._client.get(path, params={"k": K, "exclude": self._unknown_past.get(user, []), **options})
        answer.raise_for_status()
        return np.array([self._rows[item["item_id"]] for item in answer.json()["items"]], np.int64)


def _put(client: httpx.Client, data: PreparedData, row: int, given: Given) -> float:
    """Put one item; the seconds until the service ranks it."""
    item = data.items.row(row, named=True)
    path, body = f"/items/{quote(item['item_id'], safe='')}", orjson.dumps(_body(data, row, item, given))
    start = time.perf_counter()
    client.put(path, content=body).raise_for_status()
    while not _is_ranked(client, item["item_id"]):
        if time.perf_counter() - start > LONGEST_S:
            raise InputError(f"item {item['item_id']} was put {LONGEST_S:.0f} s ago and is in no list")
        time.sleep(POLL_S)
    return time.perf_counter() - start


def _is_ranked(client: httpx.Client, item_id: str) -> bool:
    answer = client.post("/rank", json={"items": [], "candidates": [item_id]})
    answer.raise_for_status()
    return bool(answer.json()["items"])


def _body(data: PreparedData, row: int, item: Mapping[str, Any], given: Given) -> dict[str, Any]:
    body: dict[str, Any] = {"title": item["title"], "attributes": {COLD: True}}
    if item["category"]:
        body["categories"] = [item["category"]]
    if given == "raw":
        return body | {"text": item["text"]} | ({"image": Path(item["image"]).name} if item["image"] else {})
    features: dict[str, Sequence[float]] = {name: array[row].tolist() for name, array in data.features.items()}
    return body | {"features": features}
