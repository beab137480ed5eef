"""Ask the service for recommendations in its three ways, and draw at random what to ask."""

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from hypothesis import strategies as st

from service.http.responses import BatchAnswer, SessionAnswer

N_ITEMS, N_USERS = 40, 30  # of tests/bundles.py


def post(client: httpx.Client, **body: Any) -> dict[str, Any]:
    response = client.post("/recommend", json=body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    SessionAnswer.model_validate(answer)
    return answer


def batch(client: httpx.Client, **body: Any) -> list[dict[str, Any]]:
    response = client.post("/recommend/batch", json=body)
    assert response.status_code == 200, response.text
    BatchAnswer.model_validate(response.json())
    answers: list[dict[str, Any]] = response.json()["answers"]
    return answers


Told = tuple[int, str, str]  # status, user, first item (or what came instead)


@contextmanager
def load(client: httpx.Client, n_callers: int = 3) -> Iterator[list[Told]]:
    """Callers that ask for known users without pause, and what each answer was."""
    answers: list[Told] = []
    stop = threading.Event()

    def ask(caller: int) -> None:
        with httpx.Client(base_url=client.base_url, timeout=60) as mine:
            for asked in itertools.count():
                if stop.is_set():
                    return
                user = f"user-{(caller * 7 + asked) % 29}"
                response = mine.get(f"/recommend/{user}?k=3")
                first = response.json()["items"][0]["item_id"] if response.status_code == 200 else response.text
                answers.append((response.status_code, user, first))

    threads = [threading.Thread(target=ask, args=(caller,)) for caller in range(n_callers)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def check(answers: list[Told]) -> None:
    """Every request was answered, and every user always with the same first item."""
    assert len(answers) > 50
    assert {status for status, *_ in answers} == {200}
    firsts: dict[str, set[str]] = {}
    for _, user, first in answers:
        firsts.setdefault(user, set()).add(first)
    assert all(len(items) == 1 for items in firsts.values())


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def item(row: int) -> str:
    return f"item-{row}"


rows = st.integers(0, N_ITEMS - 1)
users = st.integers(0, N_USERS).map("user-{}".format)  # the last is unknown, the one before has no past
categories = st.sampled_from(["chair", "lamp", "table", "rug"])
materials = st.sampled_from(["oak", "brass", "wool"])
requirements = st.one_of(
    categories.map(lambda one: {"category": one}), materials.map(lambda one: {"attribute": "material", "value": one})
)
choices = st.one_of(rows.map(lambda row: {"item_id": item(row)}), requirements)
boosts = st.builds(lambda choice, by: {**choice, "by": by}, choices, st.floats(-3, 3, width=16))
pins = st.lists(st.tuples(st.integers(1, 12), rows), max_size=3, unique_by=(lambda p: p[0], lambda p: p[1]))
weights = st.floats(0.125, 5, width=16)
rules = st.fixed_dictionaries(
    {
        "pin": pins.map(lambda found: [{"position": at, "item_id": item(row)} for at, row in found]),
        "boost": st.lists(boosts, max_size=3),
        "block": st.lists(requirements, max_size=1),
        "require": st.lists(requirements, max_size=2),
    }
)
orders = st.fixed_dictionaries(
    {
        "diversity": st.sampled_from([0, 0.2, 0.7, 1]),
        "diversity_by": st.sampled_from(["fused", "text", "image", "multimodal", "id"]),
        "category_cap": st.sampled_from([None, 1, 3]),
        "seed": st.sampled_from([None, 0, 7]),
    }
)
sessions = st.fixed_dictionaries(
    {
        "user_id": st.one_of(st.none(), users),
        "items": st.lists(
            st.builds(
                lambda row, weight: {"item_id": item(row), "weight": weight}, rows, st.floats(0.125, 5, width=16)
            ),
            max_size=4,
        ),
        "liked": st.lists(rows.map(item), max_size=2),
        "disliked": st.lists(rows.map(item), max_size=2),
    }
)
