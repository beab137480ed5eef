"""A shadow answers too, over HTTP: its lists are compared with those shown, and nothing else shows it."""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from bundles import make_content
from servers import counted, logged_by, publish, quiet_logs, serving, wait_until

from index.bundle import Bundle
from index.experiments import NO_EXPERIMENTS, GivenExperiment
from index.records import PointerMove
from index.registry import Registry
from service import state
from service.bundles.current import CurrentBundle
from service.experiments import shadow as shadow_module
from service.experiments.arms import Arms
from service.experiments.shadow import ShadowComparison
from service.experiments.shadow_summary import ShadowSummary
from service.experiments.shadow_tally import Compared, Listing, ShadowTally
from service.experiments.transitions import declared
from service.telemetry.metrics import Metrics
from service.workers.shared_memory import SharedMemory
from service.workers.siblings import Siblings
from service.workers.worker import Worker, inbox_path

K = 5
USERS = [f"user-{row}" for row in range(29)]  # of the last one nothing is known
MOVE = PointerMove(at=datetime(2026, 1, 3, tzinfo=UTC), by="test")


@dataclass
class Pair:
    """A registry that publishes the first bundle; the other one is the shadow, and answers where it is forced."""

    folder: Path
    shown: Bundle
    shadow: Bundle


@dataclass
class Serving:
    """The service, and its shadow comparisons from inside. Counts are those since the test began."""

    client: httpx.Client
    comparison: ShadowComparison
    k: int = K  # of its lists: with another one no answer is cached
    before: dict[str, float] = field(default_factory=dict)

    def begin(self) -> None:
        """Of several tests on one service, each one begins to count here."""
        self.k += 1
        self.comparison._tallies.clear()
        self.before = {outcome: self._total(outcome) for outcome in ("compared", "dropped", "error")}

    @property
    def arms(self) -> Arms:
        return self.comparison._arms

    def requests(self, outcome: str) -> float:
        return self._total(outcome) - self.before.get(outcome, 0)

    def _total(self, outcome: str) -> float:
        """From inside: /metrics takes longer than an answer."""
        return float(self.comparison._metrics.shadow_requests.labels(outcome)._value.get())

    def ask(self, path: str) -> dict[str, Any]:
        return dict(self.client.get(path).raise_for_status().json())

    def list_for(self, user: str, more: str = "") -> dict[str, Any]:
        return self.ask(f"/recommend/{user}?k={self.k}{more}")

    def list_each(self, users: list[str]) -> None:
        """One list for each user; the next one once the shadow has answered too."""
        before = self.requests("compared")
        for n, user in enumerate(users, 1):
            self.list_for(user)
            wait_until(lambda n=n: self.requests("compared") == before + n)  # type: ignore[misc]

    def summary(self) -> ShadowSummary:
        (found,) = asyncio.run(self.comparison.summaries("bigger"))
        return found


def make_pair(folder: Path, share: float = 1.0, **changes: Any) -> Pair:
    """`changes` are of the shadow's content."""
    shadow = publish(folder, make_content(seed=1, **changes))
    Registry(folder).publish(shadow.bundle_id, MOVE)  # as a person: no gate needs to run
    shown = publish(folder, make_content(seed=0))
    arms = [{"name": "control", "weight": 100}, {"name": "candidate", "weight": 0, "bundle": shadow.bundle_id}]
    given = GivenExperiment.model_validate({"arms": arms, "shadow": {"bundle": shadow.bundle_id, "share": share}})
    Registry(folder).change_experiments(partial(declared, name="bigger", given=given, move=MOVE))
    return Pair(folder, shown, shadow)


@contextmanager
def served(pair: Pair, **settings: Any) -> Iterator[Serving]:
    found: list[ShadowComparison] = []

    def make(*arguments: Any) -> ShadowComparison:
        found.append(ShadowComparison(*arguments))
        return found[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state, "ShadowComparison", make)
        with serving(registry=pair.folder, **settings) as client:
            yield Serving(client, found[0])


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_pair(tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="module")
def shared(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with served(pair, log_impressions=True, data=tmp_path_factory.mktemp("data")) as service:
        yield service


@pytest.fixture
def service(shared: Serving, monkeypatch: pytest.MonkeyPatch) -> Serving:
    monkeypatch.setattr(shared.comparison, "in_flight", shared.comparison.in_flight)  # restored if a test sets it
    shared.begin()
    return shared


def listed(bundle: Bundle, user: str, k: int) -> Listing:
    """The list of a bundle's arrays."""
    row = bundle.user_ids.row(user)
    assert row is not None
    rows, scores = bundle.index().search(bundle.user_embeddings[row], k, bundle.seen(row))
    return Listing([bundle.item_ids[item] for item in rows[0].tolist()], scores[0].tolist(), "user", 0.0)


def counted_answers(slot: CurrentBundle) -> int:
    """What the canary of the slot's bundle compares."""
    return sum(tally.answers for _, _, tally in slot.loaded.traffic.tallies())


def test_the_summary_is_that_of_the_lists_by_the_arrays_of_both_bundles(pair: Pair, service: Serving) -> None:
    expected = ShadowTally()
    for user in USERS:
        expected.add(listed(pair.shown, user, service.k), listed(pair.shadow, user, service.k))
    right = expected.summary(Compared("bigger", pair.shadow.bundle_id, pair.shown.bundle_id), 0)
    assert right.mean_overlap is not None
    assert 0 < right.mean_overlap < 0.5  # two random models: what is shown differs from the shadow's
    service.list_each(USERS)
    found = service.summary()
    assert (found.bundle, found.shown_bundle) == (pair.shadow.bundle_id, pair.shown.bundle_id)
    assert (found.compared, found.dropped, found.errors) == (len(USERS), 0, 0)
    assert (found.mean_overlap, found.same_first) == (right.mean_overlap, right.same_first)
    assert found.overlap_counts == right.overlap_counts
    for side, arrays in ((found.shown, right.shown), (found.shadow, right.shadow)):
        assert side.distinct_items == arrays.distinct_items
        assert side.score_quantiles == pytest.approx(arrays.score_quantiles, rel=0.021)
        assert side.p50_ms is not None
        assert side.p99_ms is not None
        assert 0 < side.p50_ms <= side.p99_ms


def test_metrics_have_the_overlaps_and_how_long_the_shadow_took(pair: Pair, service: Serving) -> None:
    names = ("reco_shadow_overlap_sum", "reco_shadow_overlap_count", "reco_shadow_seconds_count")
    before = [counted(service.client, name) for name in names]
    service.list_each(["user-3"])
    overlap, overlaps, times = (counted(service.client, name) - old for name, old in zip(names, before, strict=True))
    shown, shadow = (set(listed(bundle, "user-3", service.k).item_ids) for bundle in (pair.shown, pair.shadow))
    assert overlap == pytest.approx(len(shown & shadow) / service.k)
    assert (overlaps, times) == (1, 1)


def impressions(client: httpx.Client, user_id: str) -> list[str]:
    """The request ids of the lists that were logged as shown to the user."""
    events = client.get(f"/users/{user_id}/export").json()["events"]
    return [event["request_id"] for event in events if event["kind"] == "impression"]


def test_the_shadow_is_in_no_answer_no_cache_no_impression_and_no_traffic_of_the_canary(
    pair: Pair, service: Serving
) -> None:
    assert service.arms.shadow is not None
    before = [counted_answers(slot) for slot in (service.arms.current, service.arms.shadow)]
    vectors = 'reco_vectors_total{source="bundle"}'
    vectors_before = counted(service.client, vectors)
    service.list_each(["user-10", "user-11"])
    cached = {user: service.list_for(user) for user in ("user-10", "user-11")}
    for user, answer in cached.items():
        assert answer["bundle"] == pair.shown.bundle_id
        assert [one["item_id"] for one in answer["items"]] == listed(pair.shown, user, service.k).item_ids
    for user, answer in cached.items():
        wait_until(lambda user=user, answer=answer: answer["request_id"] in impressions(service.client, user))
        logged = impressions(service.client, user)
        assert len(set(logged)) == len(logged)
        assert all(logged)  # the shadow's answer is of no request
    assert counted(service.client, vectors) - vectors_before <= 2  # profiles of what is shown
    assert counted_answers(service.arms.current) == before[0] + 2  # the cached ones are none
    assert counted_answers(service.arms.shadow) == before[1]
    assert service.requests("compared") == 2  # nor are they compared


def test_sessions_are_compared_too_and_lists_that_explore_or_have_no_items_are_not(service: Serving) -> None:
    body = {"items": [{"item_id": "item-3"}, {"item_id": "item-5"}], "k": K}
    service.client.post("/recommend", json=body).raise_for_status()
    wait_until(lambda: service.requests("compared") == 1)
    service.list_for("user-1", "&exploration=0.5")
    service.list_for("user-1", "&category=boat")
    service.ask("/similar/item-1")
    service.ask("/popular")
    service.list_each(["user-2"])
    assert service.requests("compared") == 2
    assert service.requests("error") == 0


def test_what_another_arm_shows_is_not_compared(pair: Pair, service: Serving) -> None:
    assert service.list_for("user-1", "&force_arm=candidate")["bundle"] == pair.shadow.bundle_id
    service.list_each(["user-2"])
    assert service.requests("compared") == 1


def test_while_requests_are_in_flight_the_shadow_waits_and_then_drops(
    service: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadow_module, "LONGEST_WAIT_S", 0.05)
    service.comparison.in_flight = lambda: 1
    for user in USERS[:3]:
        service.list_for(user)
    wait_until(lambda: service.requests("dropped") == 3)
    assert service.requests("compared") == 0
    service.comparison.in_flight = lambda: 0
    monkeypatch.setattr(shadow_module, "LONGEST_WAIT_S", 60)
    service.list_each(USERS[3:5])
    assert (service.summary().compared, service.summary().dropped) == (2, 3)


def test_the_queue_is_bounded_and_what_does_not_fit_is_dropped(
    pair: Pair, service: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadow_module, "LONGEST_WAIT_S", 60)
    service.comparison.in_flight = lambda: 1
    for user in USERS[: shadow_module.MOST_WAITING + 5]:
        assert service.list_for(user)["bundle"] == pair.shown.bundle_id
    assert service.requests("dropped") == 4  # the others wait, and one of them has left the queue to be the next
    service.comparison.in_flight = lambda: 0
    wait_until(lambda: service.requests("compared") == shadow_module.MOST_WAITING + 1)


def test_the_server_tells_the_shadow_how_many_requests_are_in_flight(
    service: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, takes, in_flight = [], service.comparison.takes, service.comparison.in_flight

    def watched(request_id: str) -> bool:
        found.append(in_flight())
        return takes(request_id)

    monkeypatch.setattr(service.comparison, "takes", watched)
    service.list_each(["user-9"])
    assert found == [1]  # the request itself


def test_a_shadow_that_fails_changes_no_answer_and_is_counted_and_logged_once(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, items=[_without_attributes(row) for row in range(40)])
    with served(pair) as service, quiet_logs("warning"), logged_by(shadow_module) as logs:
        for user in USERS[:3]:
            answer = service.list_for(user, "&require=material:oak")
            assert answer["bundle"] == pair.shown.bundle_id
            assert len(answer["items"]) == K
        wait_until(lambda: service.requests("error") == 3)
        service.list_each(USERS[:1])  # what it can answer, it does
        assert (service.summary().errors, service.summary().compared) == (3, 1)
    (told,) = logs
    assert (told["event"], told["bundle"]) == ("the shadow failed to answer", pair.shadow.bundle_id)
    assert "material" in told["error"]


def _without_attributes(row: int) -> dict[str, Any]:
    return {"title": f"no. {row}", "category": "chair", "attributes": {}, "image": None}


def test_without_a_shadow_nothing_is_compared_and_what_was_is_still_told(tmp_path: Path) -> None:
    pair = make_pair(tmp_path)
    with served(pair, bundle_poll_s=0.02) as service:
        service.list_each(USERS[:2])
        given = GivenExperiment.model_validate({"arms": [{"name": "control", "weight": 100}]})
        Registry(pair.folder).change_experiments(partial(declared, name="bigger", given=given, move=MOVE))
        wait_until(lambda: service.arms.shadow is None)
        service.list_for("user-7")
        assert service.summary().compared == 2
        wait_until(lambda: counted(service.client, "reco_bundles_open") == 1)  # nothing holds the shadow's bundle


def test_the_share_is_kept_and_equal_request_ids_decide_alike() -> None:
    arms = Arms(None)  # type: ignore[arg-type]
    given = GivenExperiment.model_validate(
        {
            "arms": [{"name": "control", "weight": 100}],
            "shadow": {"bundle": "20260101T120000Z-anchorrec-00000000", "share": 0.05},
        }
    )
    arms.experiment = declared(NO_EXPERIMENTS, "bigger", given, MOVE).running
    one, another = (ShadowComparison(arms, Metrics(), None) for _ in range(2))
    ids = [f"{number:032x}" for number in np.random.default_rng(0).integers(0, 2**63, 4_000)]
    taken = [request_id for request_id in ids if one.takes(request_id)]
    assert 140 < len(taken) < 260  # 200 expected, standard deviation 14
    assert taken == [request_id for request_id in ids if another.takes(request_id)]


def test_the_summary_adds_up_the_workers_of_a_machine_and_says_how_many_are_missing(tmp_path: Path) -> None:
    which, answer = Compared("bigger", "new", "old"), Listing(["a"], [1.0], "user", 0.001)
    memory, (lifeline, lifeline_end) = SharedMemory.create(3), os.pipe()
    comparisons, siblings = [], []
    for number in range(2):
        inbox = socket.socket(socket.AF_UNIX)
        inbox.bind(str(inbox_path(tmp_path, number)))
        siblings.append(Siblings(Worker(number, memory, tmp_path, inbox, lifeline), Metrics()))
        comparisons.append(ShadowComparison(Arms(None), Metrics(), siblings[-1]))  # type: ignore[arg-type]
        for _ in range(number + 1):
            comparisons[-1]._tally(which).add(answer, answer)

    async def ask() -> list[ShadowSummary]:
        async with siblings[0].connected(), siblings[1].connected():
            return await comparisons[0].summaries("bigger") + await comparisons[1].summaries("another")

    (found,) = asyncio.run(ask())
    os.close(lifeline_end)
    assert (found.compared, found.workers_missing) == (3, 1)
    assert comparisons[0]._tally(which).compared == 1  # asking changes nothing
