"""Which arm answers a request, over HTTP: four arms, of which one shares the published bundle and one cannot serve."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import httpx
import numpy as np
import pytest
from bundles import write_small_bundle
from hypothesis import given, settings
from hypothesis import strategies as st
from servers import counted, logged_by, quiet_logs, serving_service, wait_until

from index.bundle import Bundle, open_bundle
from index.experiments import GivenExperiment
from index.gate_report import GateReport
from index.records import GateResult, PointerMove
from index.registry import Registry
from service.client import Client, Conflict
from service.experiments.assignment import Assignment
from service.experiments.transitions import declared
from service.http import middleware
from service.http.responses import BatchAnswer, RankAnswer, RecommendAnswer, SessionAnswer, SimilarAnswer, UserAnswer
from service.state import Service

NOW = datetime(2026, 11, 30, tzinfo=UTC)
ONLY_IN_CANDIDATE = "shop/user"
law = settings(max_examples=15)
users = st.integers(0, 28).map("user-{}".format)


@dataclass
class Trial:
    """A running experiment, and the bundles that its arms serve by name of the arm."""

    client: httpx.Client
    service: Service
    bundles: dict[str, Bundle]

    def own_arm(self, user_id: str) -> str:
        experiment = self.service.arms.experiment
        assert experiment is not None
        return Assignment(experiment.salt, experiment.arms).arm_of(user_id)

    def answering(self, user_id: str) -> str:
        """The arm that the user's answers name."""
        own = self.own_arm(user_id)
        return "control" if own == "broken" else own

    def some(self, arm: str, prefix: str = "user-") -> str:
        """A user whose own arm it is."""
        return next(f"{prefix}{i}" for i in range(1_000) if self.own_arm(f"{prefix}{i}") == arm)

    def ask(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        response = self.client.request(method, path, **options)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def counted(self, arm: str, why: str) -> float:
        return counted(self.client, f'reco_arm_answers_total{{arm="{arm}",experiment="trial",why="{why}"}}')


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    folder = tmp_path_factory.mktemp("trial")
    registry, sizes = Registry(folder / "registry"), {"n_users": 31, "n_items": 41}
    more = {"user_ids": [*(f"user-{row}" for row in range(30)), ONLY_IN_CANDIDATE]}
    paths = [
        write_small_bundle(registry.folder),
        write_small_bundle(registry.folder, after_seconds=1, seed=1, **sizes, **more),
        write_small_bundle(registry.folder, after_seconds=2, seed=2),
    ]
    for path in paths:
        result = GateResult(at=NOW, report=GateReport(bundle_id=path.name, checks=()))
        registry.save_gate_report(path.name, result)
    published, candidate, broken = paths
    registry.publish(published.name)
    arms = [
        {"name": "control", "weight": 30},
        {"name": "candidate", "weight": 30, "bundle": candidate.name},
        {"name": "same", "weight": 20},
        {"name": "broken", "weight": 20, "bundle": broken.name},
    ]
    experiment = GivenExperiment.model_validate({"arms": arms})
    registry.change_experiments(partial(declared, name="trial", given=experiment, move=PointerMove(at=NOW, by="test")))
    (broken / "item_embeddings.npy").write_bytes(b"damaged")
    opened = {"control": open_bundle(published), "same": open_bundle(published), "candidate": open_bundle(candidate)}
    with serving_service(registry=registry.folder, data=folder, log_impressions=True) as (client, service):
        yield Trial(client, service, opened)


def check_scores(bundle: Bundle, user_id: str, items: list[dict[str, Any]]) -> None:
    """Each score is the product of the user's vector and the item's in this bundle."""
    row = bundle.user_ids.row(user_id)
    assert row is not None
    rows = [bundle.item_ids.row(item["item_id"]) for item in items]
    assert items
    expected = bundle.item_embeddings[rows] @ bundle.user_embeddings[row]
    assert np.allclose([item["score"] for item in items], expected, atol=1e-4)


@law
@given(users, st.integers(1, 9), st.booleans())
def test_the_scores_of_an_answer_are_those_of_the_bundle_that_it_names(
    trial: Trial, user: str, k: int, explain: bool
) -> None:
    candidates = [f"item-{row}" for row in range(12)]
    body = {"user_id": user, "k": k, "explain": explain}
    answers = [
        trial.ask("GET", f"/recommend/{user}", params={"k": k, "explain": explain}),
        trial.ask("POST", "/recommend", json=body),
        trial.ask("POST", "/rank", json={**body, "candidates": candidates}),
    ]
    for answer, model in zip(answers, (RecommendAnswer, SessionAnswer, RankAnswer), strict=True):
        model.model_validate(answer)
        assert (answer["experiment"], answer["arm"]) == ("trial", trial.answering(user))
        bundle = trial.bundles[answer["arm"]]
        assert answer["bundle"] == bundle.bundle_id
        check_scores(bundle, user, answer["items"])


@law
@given(st.lists(users, min_size=1, max_size=12), st.integers(1, 5))
def test_each_user_of_a_batch_is_answered_as_alone_from_the_bundle_that_the_entry_names(
    trial: Trial, batch: list[str], k: int
) -> None:
    answer = trial.ask("POST", "/recommend/batch", json={"user_ids": batch, "k": k})
    BatchAnswer.model_validate(answer)
    assert "arm" not in answer
    assert answer["bundle"] == trial.bundles["control"].bundle_id
    assert [entry["user_id"] for entry in answer["answers"]] == batch
    for user, entry in zip(batch, answer["answers"], strict=True):
        alone = trial.ask("GET", f"/recommend/{user}", params={"k": k})
        assert {**entry, "request_id": alone["request_id"]} == alone
        check_scores(trial.bundles[trial.answering(user)], user, entry["items"])


def test_a_batch_searches_once_for_each_bundle(trial: Trial) -> None:
    """Its stages are those of one batch a bundle, whatever the number of arms and users."""
    several = [trial.some(arm) for arm in ("control", "same", "candidate", "broken")]
    for batch, n_bundles in ((several, 2), ([trial.some("candidate")], 1), (several[:2], 1)):
        response = trial.client.post("/recommend/batch", json={"user_ids": batch, "k": 3})
        assert response.headers["Server-Timing"].count("search;") == n_bundles


def test_an_id_that_is_no_valid_one_fails_alone_in_a_batch_of_several_arms(trial: Trial) -> None:
    batch = [trial.some("candidate"), "", "x" * 5_000, trial.some("control")]
    answers = trial.ask("POST", "/recommend/batch", json={"user_ids": batch})["answers"]
    assert [entry.get("error") for entry in answers] == [None, "invalid_request", "invalid_request", None]
    assert [entry.get("arm") for entry in answers] == ["candidate", None, None, "control"]


def test_items_of_a_rule_that_one_of_a_batchs_bundles_lacks_are_told(trial: Trial) -> None:
    rules = {"block": [{"item_id": "item-40"}, {"item_id": "item-99"}]}
    batch = [trial.some("candidate"), trial.some("control")]
    for user_ids, unknown in ((batch, ["item-99", "item-40"]), (batch[:1], ["item-99"])):
        answer = trial.ask("POST", "/recommend/batch", json={"user_ids": user_ids, "rules": rules})
        assert answer["unknown_items"] == unknown


def test_of_arms_with_the_same_bundle_one_cached_response_is_sent_under_both_names(trial: Trial) -> None:
    first, second, other = (trial.some(arm, prefix="stranger-") for arm in ("control", "same", "candidate"))
    answers = [trial.client.get(f"/recommend/{user}?k=7&category=lamp") for user in (first, second, other, other)]
    assert ["kept" in answer.headers["Server-Timing"] for answer in answers] == [False, True, False, True]
    named = [(answer.json()["arm"], answer.json()["bundle"]) for answer in answers]
    published, candidate = trial.bundles["control"].bundle_id, trial.bundles["candidate"].bundle_id
    assert named == [("control", published), ("same", published), *[("candidate", candidate)] * 2]


def test_no_cached_response_is_sent_on_when_its_arm_has_another_bundle(trial: Trial) -> None:
    arms, path = trial.service.arms, "/similar/item-3?k=4&by=text&force_arm=candidate"
    slots = {name: served.slot for name, served in arms.served.items() if served.slot is not None}
    assert trial.ask("GET", path)["bundle"] == trial.bundles["candidate"].bundle_id
    try:
        arms.take_up(arms.experiment, {**slots, "candidate": trial.service.current}, {})
        assert trial.ask("GET", path)["bundle"] == trial.bundles["control"].bundle_id
    finally:
        arms.take_up(arms.experiment, slots, {"broken": "its bundle is damaged"})
    again = trial.client.get(path)
    assert "kept" in again.headers["Server-Timing"]
    assert SimilarAnswer.model_validate(again.json()).bundle == trial.bundles["candidate"].bundle_id


def test_the_log_names_the_arm_of_a_request(trial: Trial) -> None:
    with quiet_logs("debug"), logged_by(middleware) as lines:
        trial.ask("GET", f"/recommend/{trial.some('candidate')}")
        trial.ask("GET", "/popular")
    named = {line["path"].split("/")[1]: (line.get("experiment"), line.get("arm")) for line in lines}
    assert named == {"recommend": ("trial", "candidate"), "popular": (None, None)}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/similar/item-1", None),
        ("POST", "/recommend", {"items": [{"item_id": "item-3"}]}),
        ("POST", "/rank", {"candidates": ["item-3", "item-4"]}),
        ("GET", "/popular", None),
        ("GET", "/items/item-1", None),
    ],
)
def test_without_a_user_the_published_bundle_answers_and_no_arm_is_named(
    trial: Trial, method: str, path: str, body: Any
) -> None:
    answer = trial.ask(method, path, json=body)
    assert answer["bundle"] == trial.bundles["control"].bundle_id
    assert not {"arm", "experiment"} & answer.keys()


def test_similar_items_and_what_is_known_of_a_user_come_from_the_users_arm(trial: Trial) -> None:
    for arm in ("control", "candidate", "same"):
        user, bundle = trial.some(arm), trial.bundles[arm]
        similar = trial.ask("GET", f"/similar/item-2?user_id={user}")
        known = trial.ask("GET", f"/users/{user}")
        UserAnswer.model_validate(known)
        row = bundle.user_ids.row(user)
        assert known["seen"] == len(bundle.seen(row if row is not None else -1))
        for answer in (similar, known):
            assert (answer["experiment"], answer["arm"], answer["bundle"]) == ("trial", arm, bundle.bundle_id)


def test_a_slash_may_come_unescaped_in_an_id_that_only_an_arms_bundle_knows(trial: Trial) -> None:
    assert trial.ask("GET", f"/users/{ONLY_IN_CANDIDATE}?force_arm=candidate")["trained"]
    assert trial.client.get("/users/shop/nobody").status_code == 404


FORCED = [
    ("GET", "/recommend/user-3", None),
    ("POST", "/recommend", {"user_id": "user-3"}),
    ("POST", "/recommend", {"items": [{"item_id": "item-3"}]}),
    ("POST", "/recommend/batch", {"user_ids": ["user-3", "user-4"]}),
    ("POST", "/rank", {"user_id": "user-3", "candidates": ["item-3", "item-4"]}),
    ("GET", "/similar/item-3", None),
    ("GET", "/users/user-3", None),
]


@pytest.mark.parametrize(("method", "path", "body"), FORCED)
def test_a_tester_gets_the_arm_that_the_request_names(trial: Trial, method: str, path: str, body: Any) -> None:
    for arm in ("control", "candidate", "same"):
        answer = trial.ask(method, path, params={"force_arm": arm}, json=body)
        assert (answer["experiment"], answer["arm"]) == ("trial", arm)
        assert answer["bundle"] == trial.bundles[arm].bundle_id
    for arm, status, code in (("nobody", 404, "unknown_arm"), ("broken", 409, "arm_unavailable"), ("", 422, None)):
        refused = trial.client.request(method, path, params={"force_arm": arm}, json=body)
        assert (refused.status_code, refused.json()["error"]) == (status, code or "invalid_request")


def test_the_clients_calls_force_an_arm_and_tell_which_one_answered(trial: Trial) -> None:
    with Client(str(trial.client.base_url)) as client:
        answers = [
            client.recommend("user-3", force_arm="same", k=2),
            client.recommend_session(["item-3"], force_arm="same"),
            client.recommend_batch(["user-3"], force_arm="same"),
            client.rank(["item-3"], force_arm="same"),
            client.similar("item-3", force_arm="same"),
            client.user("user-3", force_arm="same"),
        ]
        assert {(answer.experiment, answer.arm) for answer in answers} == {("trial", "same")}
        (entry,) = client.recommend_batch([trial.some("candidate")]).answers
        assert (entry.experiment, entry.arm, entry.bundle) == (
            "trial",
            "candidate",
            trial.bundles["candidate"].bundle_id,
        )
        with pytest.raises(Conflict, match="broken does not serve"):
            client.recommend("user-3", force_arm="broken")


@pytest.mark.parametrize(("method", "path", "body"), FORCED)
def test_where_no_experiment_runs_no_arm_is_named_and_none_can_be_forced(
    client: httpx.Client, method: str, path: str, body: Any
) -> None:
    assert not {"arm", "experiment"} & client.request(method, path, json=body).json().keys()
    refused = client.request(method, path, params={"force_arm": "control"}, json=body)
    assert (refused.status_code, refused.json()["error"]) == (404, "unknown_arm")


def test_answers_are_counted_by_arm_and_by_why_it_answered(trial: Trial) -> None:
    counts = {
        ("candidate", "own"): lambda: trial.ask("GET", f"/recommend/{trial.some('candidate')}"),
        ("control", "diverted"): lambda: trial.ask("GET", f"/recommend/{trial.some('broken')}"),
        ("same", "forced"): lambda: trial.ask("GET", "/recommend/user-3?force_arm=same"),
    }
    for (arm, why), ask in counts.items():
        before = trial.counted(arm, why)
        ask()
        assert trial.counted(arm, why) == before + 1
    before = trial.counted("candidate", "own")
    trial.ask("POST", "/recommend/batch", json={"user_ids": [trial.some("candidate"), trial.some("control")]})
    assert trial.counted("candidate", "own") == before + 1


def traffic(trial: Trial, arm: str) -> dict[tuple[str, str], tuple[int, int]]:
    """The answers and faults that the arm's bundle has on its account, by path and shape."""
    chosen = trial.service.arms.choose(None, arm)
    assert chosen is not None
    return {tuple(kind): (tally.answers, tally.faults) for kind, _, tally in chosen.loaded.traffic.tallies()}


def test_the_canary_of_an_arms_bundle_counts_its_answers_and_the_published_ones_does_not(trial: Trial) -> None:
    kind = "/recommend/{user_id}", "exploration 6 0"
    query, before = "k=33&exploration=0.1", traffic(trial, "control")
    trial.client.get(f"/recommend/{trial.some('candidate')}?{query}")
    assert traffic(trial, "candidate")[kind] == (1, 0)
    assert traffic(trial, "control") == before


def test_each_bundle_of_a_batch_has_its_own_part_on_its_account(trial: Trial) -> None:
    path, several = "/recommend/batch", ["user-0"]
    while len(several) < 9 or len({trial.answering(user) for user in several}) < 3:
        several.append(f"user-{len(several)}")
    sizes = dict.fromkeys(("control", "candidate"), 0)
    for user in several:
        sizes["candidate" if trial.answering(user) == "candidate" else "control"] += 1
    kinds = {arm: (path, f"6 0 0 {n.bit_length()}") for arm, n in sizes.items()}
    before = {arm: traffic(trial, arm).get(kind, (0, 0)) for arm, kind in kinds.items()}
    trial.ask("POST", path, json={"user_ids": several, "k": 40})
    for arm, kind in kinds.items():
        assert traffic(trial, arm)[kind] == (before[arm][0] + 1, 0)


def test_a_fault_in_a_part_of_a_batch_is_that_bundles(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = trial.service.arms.choose(None, "candidate")
    assert chosen is not None
    monkeypatch.setattr(type(chosen.loaded.ranker), "rank", failing_for(chosen.loaded.ranker))
    batch, kind = [trial.some("control"), trial.some("candidate")], ("/recommend/batch", "7 0 0 1")
    response = trial.client.post("/recommend/batch", json={"user_ids": batch, "k": 100})
    assert response.status_code == 500
    assert traffic(trial, "candidate")[kind] == (1, 1)
    assert kind not in traffic(trial, "control")


def failing_for(ranker: Any) -> Any:
    whole = type(ranker).rank

    async def rank(self: Any, *given: Any, **options: Any) -> Any:
        if self is ranker:
            raise RuntimeError("broken for this test")
        return await whole(self, *given, **options)

    return rank


def test_what_is_shown_counts_for_the_users_own_arm_only(trial: Trial) -> None:
    ask = {
        "candidate": lambda user: trial.ask("GET", f"/recommend/{user}"),
        "same": lambda user: trial.ask("POST", "/recommend", json={"user_id": user}),
        "broken": lambda user: trial.ask("GET", f"/recommend/{user}"),
        "control": lambda user: trial.ask("GET", f"/recommend/{user}?force_arm=candidate"),
    }
    shown = {arm: trial.some(arm, prefix="shopper-") for arm in ask}
    for arm, user in shown.items():
        trial.client.head(f"/recommend/{user}")  # shows nothing
        ask[arm](user)

    def arms_of(user: str) -> list[str | None]:
        return [event["arm"] for event in trial.ask("GET", f"/users/{user}/export")["events"]]

    wait_until(lambda: all(arms_of(user) for user in shown.values()))
    assert {arm: arms_of(user) for arm, user in shown.items()} == {
        "candidate": ["trial/1/candidate"],
        "same": ["trial/1/same"],
        "broken": [None],
        "control": [None],
    }
