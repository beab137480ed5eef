"""What a running demo must answer, asked over HTTP and held against the bundle that it serves."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np

from index.bundle import Bundle

TO_THE_SCORE = 1e-4
USERS_ASKED = 20
UNKNOWN = "nobody has this id / 誰でもない"


class Unmet(Exception):  # noqa: N818 - a finding about the demo, and not an error of ours
    """An answer that is not as it must be; says what was found and what was expected."""


@dataclass(frozen=True)
class World:
    """The service that is asked, and the bundle that it should answer from."""

    client: httpx.Client
    bundle: Bundle

    def get(self, path: str, status: int = 200, **query: Any) -> dict[str, Any]:
        """The JSON answer; Unmet where the status is another."""
        response = self.client.get(path, params=query)
        expect(response.status_code == status, f"{path} answered {response.status_code}, expected {status}")
        answer: dict[str, Any] = response.json()
        return answer

    def users(self) -> list[int]:
        """Rows of users with a past, the busiest first."""
        busy = np.argsort(-np.diff(self.bundle.seen_offsets), kind="stable")[:USERS_ASKED]
        return [int(row) for row in busy if len(self.bundle.seen(int(row)))]


def expect(holds: bool, otherwise: str) -> None:
    """Unmet where it does not hold."""
    if not holds:
        raise Unmet(otherwise)


def escaped(outside_id: str) -> str:
    """An id as a part of a path."""
    return quote(outside_id, safe="")


def ready(world: World) -> str:
    """The service is ready, from the published bundle, with Redis."""
    answer = world.get("/readyz")
    found = (answer["bundle"], answer["redis"])
    expect(found == (world.bundle.bundle_id, "closed"), f"found {found}")
    return f"bundle {answer['bundle']}, {answer['index']['factory']} index on {answer['index']['device']}"


def known_users(world: World) -> str:
    """Known users get items of their own, none of them seen, every score explained by two exact sums."""
    explained = 0
    for row in world.users():
        user_id = world.bundle.user_ids[row]
        answer = world.get(f"/recommend/{escaped(user_id)}", k=10, explain=True)
        expect(answer["source"] == "user", f"source of {user_id!r} is {answer['source']!r}")
        seen = {world.bundle.item_ids[int(item)] for item in world.bundle.seen(row)}
        again = seen & {item["item_id"] for item in answer["items"]}
        expect(not again, f"{user_id!r} was shown {sorted(again)} again")
        for item in answer["items"]:
            _sums(item)
            explained += 1
    expect(explained > 0, "nobody was recommended anything")
    return f"{len(world.users())} users, {explained} explained items"


def _sums(item: Mapping[str, Any]) -> None:
    why = item["explanation"]
    past = sum(one["contribution"] for one in why["past_items"])
    for name, total in (
        ("parts", sum(why["parts"].values())),
        ("past items and own term", past + why["other_past_items"] + why["user_own"]),
    ):
        off = abs(total - item["score"])
        expect(off <= TO_THE_SCORE, f"{name} of {item['item_id']!r} sum to {total}, the score is {item['score']}")


def counterfactual(world: World) -> str:
    """Each named past item carries the rank that the item would have without it."""
    user_id = world.bundle.user_ids[world.users()[0]]
    answer = world.get(f"/recommend/{escaped(user_id)}", k=3, explain=True, counterfactual=True)
    ranks = [past["rank_without"] for item in answer["items"] for past in item["explanation"]["past_items"]]
    expect(all(rank is None or rank >= 1 for rank in ranks) and bool(ranks), f"found ranks {ranks}")
    return f"{len(ranks)} ranks"


def similar_items(world: World) -> str:
    """An item's neighbours carry the cosine in every space and the users in common, and not the item itself."""
    item_id = _popular_item(world)
    spaces = world.get("/readyz")["spaces"]
    for by in spaces:
        answer = world.get(f"/similar/{escaped(item_id)}", k=10, by=by, explain=True)
        expect(answer["by"] == by and bool(answer["items"]), f"by={by} answered {answer['items']}")
        for item in answer["items"]:
            why = item["explanation"]
            expect(item["item_id"] != item_id, f"{item_id!r} is its own neighbour")
            expect(set(why["cosines"]) == set(spaces), f"cosines in {sorted(why['cosines'])}, expected {spaces}")
            expect(abs(why["cosines"][by] - item["score"]) <= TO_THE_SCORE, f"score is not the cosine by {by}")
            expect(why["users_in_common"] >= 0, f"users in common: {why['users_in_common']}")
    return f"of {item_id!r}, by {', '.join(spaces)}"


def unknown_user(world: World) -> str:
    """A user whom the bundle does not know gets what is popular, labelled so."""
    answer = world.get(f"/recommend/{escaped(UNKNOWN)}", k=5)
    expect(answer["source"] == "popular", f"source is {answer['source']!r}, expected 'popular'")
    popular = [item["item_id"] for item in world.get("/popular", k=5)["items"]]
    expect([item["item_id"] for item in answer["items"]] == popular, "the items are not those of /popular")
    return f"first: {answer['items'][0]['title']!r}"


def refusals(world: World) -> str:
    """What cannot be answered is refused in one shape, the limit named."""
    item = world.get(f"/items/{escaped(UNKNOWN)}", status=404)
    k = world.get("/popular", status=422, k=0)
    for refusal in (item, k):
        expect(set(refusal) == {"error", "detail", "request_id"}, f"found {sorted(refusal)}")
    return str(k["detail"])


def redis_was_used(world: World) -> str:
    """User vectors were written to Redis, for the other replicas and the next start."""
    text = world.client.get("/metrics").text
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("reco_redis"))
    written, failed = (
        float(lines.get(f'reco_redis_writes_total{{outcome="{outcome}"}}', 0)) for outcome in ("done", "error")
    )
    expect(written > 0 and failed == 0, f"{written:g} written, {failed:g} failed")
    return f"{written:g} vectors written"


def _popular_item(world: World) -> str:
    item_id: str = world.get("/popular", k=1)["items"][0]["item_id"]
    return item_id


CHECKS: tuple[Callable[[World], str], ...] = (
    ready,
    known_users,
    counterfactual,
    similar_items,
    unknown_user,
    refusals,
    redis_was_used,
)


def run_checks(world: World) -> Iterator[tuple[str, bool, str]]:
    """For each check: what must hold, whether it does, and what was found."""
    for check in CHECKS:
        said = (check.__doc__ or check.__name__).splitlines()[0]
        try:
            yield said, True, check(world)
        except Unmet as unmet:
            yield said, False, str(unmet)


def examples(bundle: Bundle, client: httpx.Client) -> list[str]:
    """Three calls worth showing: a user with a past, an item, and somebody unknown."""
    world = World(client, bundle)
    users = world.users()
    user_id = bundle.user_ids[users[len(users) // 2]]
    return [
        f"/recommend/{escaped(user_id)}?k=2&explain=true",
        f"/similar/{escaped(_popular_item(world))}?k=2&explain=true",
        f"/recommend/{escaped('somebody new')}?k=3",
    ]
