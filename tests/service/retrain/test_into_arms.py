"""A retraining whose bundle goes into an arm of the running experiment, and to nobody else."""

import asyncio
from functools import partial
from pathlib import Path

import pytest
from experiment_worlds import BY, registry_of, running, two_arms
from retrainings import ended, in_training, let_go, retraining, started
from servers import publish, serving, wait_until
from stand_in_trainer import GOOD, WAITS

from index.registry import Registry
from service.errors import ServiceError
from service.experiments.retrained import RetrainedArms
from service.experiments.transitions import declared, with_arm_ended, with_end
from service.retrain import supervisor


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """A bundle that is published, and an experiment with an arm that has none of its own yet."""
    publish(tmp_path / "bundles")
    registry = Registry(tmp_path / "bundles")
    registry.change_experiments(partial(declared, name="trial", given=two_arms(None), move=BY))
    return registry


def arm_bundle(registry: Registry) -> str | None:
    experiment = registry.experiments().running
    assert experiment is not None
    return experiment.arms[1].bundle


def test_a_retraining_for_an_arm_gives_the_arm_its_bundle_and_publishes_nothing(registry: Registry) -> None:
    before = registry.current_id()
    with serving(**retraining(GOOD, registry.folder)) as client:
        job = ended(client, started(client, arm="candidate"))
        assert (job["state"], job["reason"], job["arm"]) == ("published", "", "trial/candidate")
        answer = client.get("/recommend/user-1", params={"force_arm": "candidate"}).json()
    assert (registry.current_id(), arm_bundle(registry), answer["bundle"]) == (before, job["bundle"], job["bundle"])


def test_where_the_arm_is_gone_after_the_training_the_bundle_is_registered_and_not_published(
    registry: Registry,
) -> None:
    before = registry.current_id()
    with serving(**retraining(WAITS, registry.folder, retrain_arm="trial/candidate")) as client:
        job_id = started(client)
        in_training(registry.folder, job_id)
        registry.change_experiments(partial(with_end, name="trial", move=BY))
        let_go(registry.folder)
        job = ended(client, job_id)
    assert job["state"] == "refused"
    assert job["reason"] == (
        f"{job['bundle']} is registered, and was not published into arm trial/candidate: "
        "arm 'trial/candidate': expected one of the running experiment; none runs"
    )
    assert registry.holds(job["bundle"])
    assert registry.current_id() == before


def test_a_retraining_for_an_arm_that_is_none_does_not_start(registry: Registry) -> None:
    with serving(**retraining(GOOD, registry.folder)) as client:
        refused = client.post("/retrain", params={"arm": "other"})
        assert (refused.status_code, refused.json()["error"]) == (404, "unknown_arm")
        assert refused.json()["detail"].endswith("has no arm 'other'; expected one of candidate")
        assert client.get("/retrain").json()["jobs"] == []


def test_a_due_retraining_waits_until_there_is_its_arm(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = []
    monkeypatch.setattr(supervisor.log, "warning", lambda event, **facts: waits.append((event, facts["problem"])))
    registry.change_experiments(partial(with_end, name="trial", move=BY))
    with serving(**retraining(GOOD, registry.folder, retrain_arm="candidate", retrain_after_events=1)) as client:
        client.post("/events", json={"user_id": "user-1", "item_id": "item-1", "kind": "like"}).raise_for_status()
        wait_until(lambda: waits)
        assert client.get("/retrain").json()["jobs"] == []
        registry.change_experiments(partial(declared, name="next", given=two_arms(None), move=BY))
        wait_until(lambda: client.get("/retrain").json()["jobs"])
        (job,) = client.get("/retrain").json()["jobs"]
        assert (job["trigger"], job["arm"]) == ("events", "next/candidate")
    assert len(waits) == 1


def test_only_arms_that_can_get_a_bundle_are_found(tmp_path: Path) -> None:
    registry = registry_of(tmp_path / "registry", 2)

    async def refusal(arms: RetrainedArms, arm: str) -> str:
        with pytest.raises(ServiceError) as refused:
            await arms.find(arm)
        return refused.value.code

    async def go() -> None:
        arms = RetrainedArms()
        async with running(registry) as service:
            arms.control.set_result(service.experiments)
            assert await refusal(arms, "candidate") == "unknown_arm"
            registry.change_experiments(partial(declared, name="trial", given=two_arms(None), move=BY))
            assert await arms.find("candidate") == await arms.find("trial/candidate") == "trial/candidate"
            assert await refusal(arms, "other/candidate") == "unknown_arm"
            assert await refusal(arms, "control") == "experiment_conflict"
            registry.change_experiments(partial(with_arm_ended, name="trial", arm="candidate", move=BY))
            assert await refusal(arms, "candidate") == "arm_unavailable"

    asyncio.run(go())
