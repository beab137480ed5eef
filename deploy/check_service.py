"""`python -m deploy.check_service`: compare the responses of a running service with the bundle that it serves."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import httpx
import numpy as np
import typer
from rich.console import Console

from index.bundle import Bundle, open_bundle
from index.cli import command_line, run_cli
from index.errors import InputError
from index.recency import past_weights
from index.registry import Registry

TOLERANCE = 1e-4  # between the sum of an explanation and the score
USERS_CHECKED = 20
UNKNOWN_ID = "an unknown id / 不明"
START_S = 60.0
POLL_S = 0.1

app = command_line()


class CheckFailed(Exception):  # noqa: N818 - a finding about the service that is checked
    """A response differs from what was expected; the text says what was found and what was expected."""


@dataclass(frozen=True)
class CheckedService:
    """A running service and the bundle that it should serve."""

    client: httpx.Client
    bundle: Bundle

    def get(self, path: str, status: int = 200, **query: Any) -> dict[str, Any]:
        """Request a path and return the JSON body. CheckFailed where the status differs."""
        response = self.client.get(path, params=query)
        expect(response.status_code == status, f"{path} returned {response.status_code}, expected {status}")
        body: dict[str, Any] = response.json()
        return body

    def users(self) -> list[int]:
        """Return rows of users who have seen items, the most active first."""
        busy = np.argsort(-np.diff(self.bundle.seen_offsets), kind="stable")[:USERS_CHECKED]
        return [int(row) for row in busy if len(self.bundle.seen(int(row)))]


def expect(condition: bool, message: str) -> None:
    """Raise CheckFailed with this text unless the condition holds."""
    if not condition:
        raise CheckFailed(message)


def escaped(outside_id: str) -> str:
    """Escape an id for use in a URL path."""
    return quote(outside_id, safe="")


def ready(service: CheckedService) -> str:
    """The service is ready, serves the published bundle and is connected to Redis."""
    body = service.get("/readyz")
    found = (body["bundle"], body["redis"])
    expect(found == (service.bundle.bundle_id, "closed"), f"found {found}")
    return f"bundle {body['bundle']}, {body['index']['factory']} index on {body['index']['device']}"


def known_users(service: CheckedService) -> str:
    """Known users receive unseen items, both explanations of a score add up to it, and past items share it rightly."""
    explained = 0
    for row in service.users():
        user_id = service.bundle.user_ids[row]
        body = service.get(f"/recommend/{escaped(user_id)}", k=10, explain=True)
        expect(body["source"] == "user", f"source of {user_id!r} is {body['source']!r}")
        seen = {service.bundle.item_ids[int(item)] for item in service.bundle.seen(row)}
        again = seen & {item["item_id"] for item in body["items"]}
        expect(not again, f"{user_id!r} received seen items: {sorted(again)}")
        for item in body["items"]:
            _sums(item)
            _contributions(service.bundle, row, item)
            explained += 1
    expect(explained > 0, "no user received any recommendation")
    return f"{len(service.users())} users, {explained} explained items"


def _sums(item: Mapping[str, Any]) -> None:
    why = item["explanation"]
    past = sum(one["contribution"] for one in why["past_items"])
    for name, total in (
        ("parts", sum(why["parts"].values())),
        ("past items and own term", past + why["other_past_items"] + why["user_own"]),
    ):
        off = abs(total - item["score"])
        expect(off <= TOLERANCE, f"{name} of {item['item_id']!r} sum to {total}, the score is {item['score']}")


def _contributions(bundle: Bundle, user_row: int, item: Mapping[str, Any]) -> None:
    """Each past item contributes weight · scale · fold_in · item, its weight by the bundle's recency."""
    past, item_row = bundle.seen(user_row).tolist(), bundle.item_ids.row(item["item_id"])
    expect(item_row is not None, f"the bundle has no {item['item_id']!r}")
    weights = past_weights(np.array([0, len(past)]), bundle.recency)
    shares = weights * (bundle.fold_in[past] @ bundle.item_embeddings[item_row]) / np.sqrt(weights.sum())
    expected = {bundle.item_ids[row]: float(share) for row, share in zip(past, shares, strict=True)}
    for one in item["explanation"]["past_items"]:
        share = expected.get(one["item_id"])
        told = f"{one['item_id']!r} contributes {one['contribution']} to {item['item_id']!r}, expected {share}"
        expect(share is not None and abs(one["contribution"] - share) <= TOLERANCE * max(1, abs(share)), told)


def counterfactual(service: CheckedService) -> str:
    """Each past item of an explanation has the rank that the recommended item would have without it."""
    user_id = service.bundle.user_ids[service.users()[0]]
    body = service.get(f"/recommend/{escaped(user_id)}", k=3, explain=True, counterfactual=True)
    ranks = [past["rank_without"] for item in body["items"] for past in item["explanation"]["past_items"]]
    expect(all(rank is None or rank >= 1 for rank in ranks) and bool(ranks), f"found ranks {ranks}")
    return f"{len(ranks)} ranks"


def similar_items(service: CheckedService) -> str:
    """Similar items have a cosine in every space and a count of common users, and exclude the item itself."""
    item_id = _popular_item(service)
    spaces = service.get("/readyz")["spaces"]
    for by in spaces:
        body = service.get(f"/similar/{escaped(item_id)}", k=10, by=by, explain=True)
        expect(body["by"] == by and bool(body["items"]), f"by={by} returned {body['items']}")
        for item in body["items"]:
            why = item["explanation"]
            expect(item["item_id"] != item_id, f"{item_id!r} is in its own list of similar items")
            expect(set(why["cosines"]) == set(spaces), f"cosines in {sorted(why['cosines'])}, expected {spaces}")
            expect(abs(why["cosines"][by] - item["score"]) <= TOLERANCE, f"score is not the cosine by {by}")
            expect(why["users_in_common"] >= 0, f"users in common: {why['users_in_common']}")
    return f"of {item_id!r}, by {', '.join(spaces)}"


def unknown_user(service: CheckedService) -> str:
    """An unknown user receives popular items, labelled as popular."""
    body = service.get(f"/recommend/{escaped(UNKNOWN_ID)}", k=5)
    expect(body["source"] == "popular", f"source is {body['source']!r}, expected 'popular'")
    popular = [item["item_id"] for item in service.get("/popular", k=5)["items"]]
    expect([item["item_id"] for item in body["items"]] == popular, "the items are not those of /popular")
    return f"first: {body['items'][0]['title']!r}"


def refusals(service: CheckedService) -> str:
    """Errors have one JSON shape, and a validation error names the limit."""
    item = service.get(f"/items/{escaped(UNKNOWN_ID)}", status=404)
    k = service.get("/popular", status=422, k=0)
    for refusal in (item, k):
        expect(set(refusal) == {"error", "detail", "request_id"}, f"found {sorted(refusal)}")
    return str(k["detail"])


def redis_was_used(service: CheckedService) -> str:
    """The service wrote user vectors to Redis."""
    text = service.client.get("/metrics").text
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("reco_redis"))
    written, failed = (
        float(lines.get(f'reco_redis_writes_total{{outcome="{outcome}"}}', 0)) for outcome in ("done", "error")
    )
    expect(written > 0 and failed == 0, f"{written:g} written, {failed:g} failed")
    return f"{written:g} vectors written"


def _popular_item(service: CheckedService) -> str:
    item_id: str = service.get("/popular", k=1)["items"][0]["item_id"]
    return item_id


def pictures(service: CheckedService) -> str:
    """The picture of an item is served where responses say."""
    path = picture_of_an_item(service)
    response = service.client.get(path)
    found = (response.status_code, response.headers.get("content-type", "none").partition("/")[0])
    expect(found == (200, "image"), f"{path} returned {found}")
    return f"{path}, {len(response.content):,} bytes"


def picture_of_an_item(service: CheckedService) -> str:
    """Return the URL of a popular item's picture. CheckFailed where none of them has one."""
    items = service.get("/popular", k=50, fields="image")["items"]
    path: str | None = next((item["image"] for item in items if item["image"]), None)
    expect(path is not None, "no popular item has an image")
    return str(path)


Check = Callable[[CheckedService], str]
CHECKS: tuple[Check, ...] = (
    ready,
    known_users,
    counterfactual,
    similar_items,
    unknown_user,
    refusals,
    redis_was_used,
)


def run_checks(service: CheckedService, checks: Iterable[Check] = CHECKS) -> Iterator[tuple[str, bool, str]]:
    """Run the checks; yield the description of each, whether it passed, and what was found."""
    for check in checks:
        description = (check.__doc__ or check.__name__).splitlines()[0]
        try:
            yield description, True, check(service)
        except CheckFailed as failure:
            yield description, False, str(failure)


def print_results(console: Console, results: Iterable[tuple[str, bool, str]]) -> bool:
    """Print each check with what was found, and return whether all passed."""
    all_passed = True
    for description, passed, found in results:
        console.print("[green]ok[/]" if passed else "[red]FAILED[/]", description, style="bold", highlight=False)
        console.print(f"   {found}", markup=False, highlight=False)
        all_passed = all_passed and passed
    return all_passed


def examples(bundle: Bundle, client: httpx.Client) -> list[str]:
    """Return three example requests: for a known user, for an item, and for an unknown user."""
    service = CheckedService(client, bundle)
    return [
        f"/recommend/{escaped(example_user(service))}?k=2&explain=true",
        f"/similar/{escaped(_popular_item(service))}?k=2&explain=true",
        f"/recommend/{escaped('new user')}?k=3",
    ]


def example_user(service: CheckedService) -> str:
    """The id of a user with many past items."""
    users = service.users()
    return str(service.bundle.user_ids[users[len(users) // 2]])


@app.command()
def check_service(
    registry: Annotated[Path, typer.Option(help="Folder of published bundles that the service reads.")],
    url: Annotated[str, typer.Option(help="Address of the service.")],
) -> None:
    """Wait until the service is ready, check its responses, and exit with 0 or 1.

    Example: python -m deploy.check_service --registry bundles --url http://127.0.0.1:8000
    """
    bundle = open_bundle(Registry(registry).current(), verify=False)
    with httpx.Client(base_url=url, timeout=10) as client:
        wait_until_ready(client)
        sys.exit(0 if print_results(Console(), run_checks(CheckedService(client, bundle))) else 1)


def wait_until_ready(client: httpx.Client, seconds: float = START_S) -> None:
    """Poll /readyz until it returns 200. InputError after so many seconds."""
    deadline = time.monotonic() + seconds
    while not _is_ready(client):
        if time.monotonic() > deadline:
            raise InputError(f"{client.base_url} was not ready within {seconds:.0f} s")
        time.sleep(POLL_S)


def _is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


if __name__ == "__main__":
    run_cli(app)
