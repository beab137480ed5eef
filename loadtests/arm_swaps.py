"""`python -m loadtests.arm_swaps`: an arm gets another bundle again and again under load; every answer is checked.

An answer is right if it names the user's arm, a bundle that this arm had while the request ran, and scores that are the
products of that bundle's own arrays.
"""

import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import httpx
import numpy as np
import orjson
import typer
from rich.console import Console
from rich.progress import track

from deploy.processes import SERVICE, free_port, redis_server, server
from index.bundle import Bundle, open_bundle, write_bundle
from index.cli import command_line, run_cli
from index.experiments import GivenExperiment
from index.records import PointerMove
from index.registry import Registry
from loadtests.random_bundle import CREATED, RandomBundleSizes, random_content, user_id
from service.experiments.assignment import Assignment

NAME, ARM, CONTROL = "swaps", "candidate", "control"
K = 10
TOLERANCE = 1e-3  # of a score, relative to the largest
MOST_PROBLEMS = 20  # that are told

app = command_line()


@dataclass
class Serving:
    """Which bundles an arm had: each may answer from when it was asked for until the next one was confirmed."""

    asked: list[tuple[float, str]] = field(default_factory=list)
    confirmed: list[float] = field(default_factory=list)

    def between(self, start: float, end: float) -> set[str]:
        """The bundles that may have answered a request that ran from start to end."""
        ends = [*self.confirmed[1:], *[float("inf")] * len(self.asked)]
        return {
            bundle for (begin, bundle), last in zip(self.asked, ends, strict=False) if begin <= end and last >= start
        }


@dataclass
class Outcome:
    """What the callers saw."""

    answers: int = 0
    failed: int = 0
    mixed: int = 0
    of_the_arm: int = 0
    bundles: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, problem: str, answer: dict[str, Any] | None) -> None:
        """Count an answer and what is wrong with it; None: there was none."""
        with self.lock:
            self.answers += answer is not None
            self.failed += answer is None
            self.mixed += answer is not None and bool(problem)
            if answer is not None:
                self.of_the_arm += answer.get("arm") == ARM
                self.bundles.add(str(answer.get("bundle")))
            if problem and len(self.problems) < MOST_PROBLEMS:
                self.problems.append(problem)


@app.command()
def arm_swaps(
    *,
    swaps: Annotated[int, typer.Option(min=1, help="How often the arm gets another bundle.")] = 200,
    callers: Annotated[int, typer.Option(min=1, help="Callers, each with one request after another.")] = 8,
    items: Annotated[int, typer.Option(min=K, help="Items of each random bundle.")] = 2_000,
    users: Annotated[int, typer.Option(min=1, help="Users of each random bundle.")] = 2_000,
) -> None:
    """Swap an arm's bundle under load; print how many answers failed, or were not of the arm's bundle."""
    with tempfile.TemporaryDirectory() as folder:
        bundles = write_bundles(Path(folder) / "registry", RandomBundleSizes(items, users, 5, 16), 4)
        settings = {"RECO_ADMIN_OPEN": "true", "RECO_DATA": folder, "RECO_LOG_LEVEL": "error"}
        with (
            redis_server() as redis,
            server(SERVICE, Path(folder) / "registry", free_port(), redis.connection_url, settings=settings) as child,
        ):
            address, start = str(child.client.base_url), time.perf_counter()
            outcome = swap_under_load(address, bundles, swaps, callers, users)
    figures = {"swaps": swaps, "seconds": round(time.perf_counter() - start, 1), "answers": outcome.answers}
    found = {"of_the_arm": outcome.of_the_arm, "bundles": len(outcome.bundles)}
    typer.echo(orjson.dumps({**figures, **found, "failed": outcome.failed, "mixed": outcome.mixed}).decode())
    if outcome.problems:
        typer.echo("\n".join(outcome.problems), err=True)
        raise typer.Exit(1)


def write_bundles(registry: Path, sizes: RandomBundleSizes, n: int) -> list[Bundle]:
    """Random bundles of the same catalogue that were all published before; the first one serves."""
    paths = [
        write_bundle(
            registry, random_content(sizes, np.random.default_rng(i)), created_at=CREATED + timedelta(seconds=i)
        )
        for i in range(n)
    ]
    for path in reversed(paths):
        Registry(registry).publish(path.name, PointerMove(at=datetime.now(UTC), by="load test"))
    return [open_bundle(path) for path in paths]


def swap_under_load(
    address: str, bundles: Sequence[Bundle], swaps: int, callers: int, n_users: int, *, share: float = 50.0
) -> Outcome:
    """Give an arm one bundle after another while callers ask; the first bundle is the published one."""
    arms = [{"name": CONTROL, "weight": 100 - share}, {"name": ARM, "weight": share, "bundle": bundles[1].bundle_id}]
    given = GivenExperiment.model_validate({"arms": arms})
    served, outcome, ended = Serving(), Outcome(), threading.Event()
    check = _checker(bundles, Assignment(NAME, given.arms), served)
    with httpx.Client(base_url=address, timeout=60) as admin, ThreadPoolExecutor(callers) as pool:
        served.asked.append((time.perf_counter(), bundles[1].bundle_id))
        admin.put(f"/experiments/{NAME}", json=given.model_dump(mode="json")).raise_for_status()
        served.confirmed.append(time.perf_counter())
        users = [_users(caller, n_users) for caller in range(callers)]
        calls = [pool.submit(_call, address, one, check, outcome, ended) for one in users]
        try:
            for i in track(range(swaps), "swaps", console=Console(stderr=True), disable=swaps < 20):
                bundle_id = bundles[1 + (i + 1) % (len(bundles) - 1)].bundle_id
                served.asked.append((time.perf_counter(), bundle_id))
                body = {"arm": ARM, "bundle": bundle_id}
                admin.post(f"/experiments/{NAME}/publish", json=body).raise_for_status()
                served.confirmed.append(time.perf_counter())
        finally:
            ended.set()
        for call in calls:
            call.result()
        admin.post(f"/experiments/{NAME}/end", json={}).raise_for_status()
    return outcome


Check = Callable[[str, dict[str, Any], float, float], str]


def _users(seed: int, n_users: int) -> Iterator[str]:
    rng = np.random.default_rng(seed)
    while True:
        yield user_id(int(rng.integers(n_users)))


def _call(address: str, users: Iterator[str], check: Check, outcome: Outcome, ended: threading.Event) -> None:
    with httpx.Client(base_url=address, timeout=60) as client:
        while not ended.is_set():
            user, start = next(users), time.perf_counter()
            try:
                response = client.get(f"/recommend/{user}", params={"k": K})
                response.raise_for_status()
            except httpx.HTTPError as error:
                outcome.add(f"{user}: {error}", None)
                continue
            answer = response.json()
            outcome.add(check(user, answer, start, time.perf_counter()), answer)


def _checker(bundles: Sequence[Bundle], assignment: Assignment, served: Serving) -> Check:
    by_id = {bundle.bundle_id: bundle for bundle in bundles}

    def check(user: str, answer: dict[str, Any], start: float, end: float) -> str:
        """What is wrong with the answer; empty where nothing is."""
        arm, bundle_id = assignment.arm_of(user), answer["bundle"]
        if answer.get("arm") != arm:
            return f"{user}: arm {answer.get('arm')}, expected {arm}"
        allowed = {bundles[0].bundle_id} if arm == CONTROL else served.between(start, end)
        if bundle_id not in allowed:
            return f"{user}, arm {arm}: bundle {bundle_id}, expected one of {', '.join(sorted(allowed))}"
        return "; ".join(_wrong_scores(by_id[bundle_id], user, answer))

    return check


def _wrong_scores(bundle: Bundle, user: str, answer: dict[str, Any]) -> Iterator[str]:
    row = bundle.user_ids.row(user)
    vector = np.asarray(bundle.user_embeddings[row], np.float64)
    items = np.array([bundle.item_ids.row(item["item_id"]) for item in answer["items"]])
    expected = np.asarray(bundle.item_embeddings[items], np.float64) @ vector
    found = np.array([item["score"] for item in answer["items"]])
    if len(found) != K or np.abs(found - expected).max() > TOLERANCE * np.abs(expected).max():
        yield f"{user}: scores {found[:3]} are not those of {bundle.bundle_id}, {expected[:3]}"


if __name__ == "__main__":
    run_cli(app)
