"""The bundles of arms: loaded, followed, replaced and dropped while requests are answered."""

import asyncio
import gc
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from experiment_worlds import BY, NOW, metric, registry_of, running, two_arms
from lively import until
from servers import Valkey, logged_by, quiet_logs, wait_until

from index.experiments import NO_EXPERIMENTS
from index.gate_report import GateCheck, GateReport
from index.records import GateResult
from index.registry import Registry
from service.bundles.bundle_errors import SwapFailedError
from service.errors import ServiceError
from service.experiments import arm_bundles
from service.experiments.errors import ArmUnavailableError, UnknownArmError
from service.experiments.transitions import declared, with_bundle
from service.items.item import GivenItem
from service.state import Service
from service.telemetry.metrics import Metrics


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """Three bundles that the gate let pass, of which the oldest serves."""
    return registry_of(tmp_path / "registry", 3)


def serving_bundles(service: Service) -> set[str]:
    """The bundles that answer many users."""
    chosen = [service.arms.choose(f"user-{i}", None) for i in range(200)]
    return {one.loaded.bundle.bundle_id for one in chosen if one is not None}


def test_each_arm_answers_from_its_bundle_and_after_the_end_all_from_the_published_one(registry: Registry) -> None:
    newest, middle, oldest = registry.ids()

    async def go() -> None:
        async with running(registry) as service:
            assert service.arms.choose("user-1", None) is None
            await service.experiments.declare("trial", two_arms(middle), by="test")
            assert serving_bundles(service) == {oldest, middle}
            await service.experiments.publish("trial", "candidate", newest, by="test")
            assert serving_bundles(service) == {oldest, newest}
            assert [slot.bundle_id for slot in service.catalogue.arms] == [newest]
            ended, outcome = await service.experiments.end("trial", by="test", winner="candidate")
            assert (ended.winner, outcome and outcome.bundle) == ("candidate", newest)
            assert service.arms.choose("user-1", None) is None
            assert (service.current.bundle_id, service.catalogue.arms) == (newest, [])

    asyncio.run(go())


def test_the_log_tells_which_bundle_an_arm_got(registry: Registry) -> None:
    newest, middle, _ = registry.ids()

    async def go() -> None:
        async with running(registry) as service:
            await service.experiments.declare("trial", two_arms(middle), by="test")
            with quiet_logs("info"), logged_by(arm_bundles) as logs:
                await service.experiments.publish("trial", "candidate", newest, by="test")
            assert [newest in str(one) for one in logs if one["event"] == "experiments changed"] == [True]

    asyncio.run(go())


def test_with_a_redis_another_replica_takes_up_an_experiment_at_once(
    registry: Registry, valkey: Valkey, tmp_path: Path
) -> None:
    _, middle, oldest = registry.ids()
    told = {"redis_url": valkey.url, "bundle_poll_s": 3_600}

    async def go() -> None:
        async with running(registry, **told) as service, running(registry, data=tmp_path / "other", **told) as other:
            await until(lambda: valkey.client().pubsub_numsub("reco:news")[0][1] == 2)
            await service.experiments.declare("trial", two_arms(middle), by="test")
            await until(lambda: serving_bundles(other) == {oldest, middle})

    asyncio.run(go())


def test_a_bundle_withdrawn_while_an_arm_serves_it_is_refused_in_the_next_declaration(registry: Registry) -> None:
    _, middle, _ = registry.ids()

    async def go() -> None:
        async with running(registry) as service:
            await service.experiments.declare("trial", two_arms(middle), by="test")
            registry.withdraw_unpublished(middle, BY.model_copy(update={"why": "bad lists"}))
            with pytest.raises(SwapFailedError, match="was withdrawn: bad lists"):
                await service.experiments.declare("trial", two_arms(middle, 20), by="test")
            assert service.arms.served["candidate"].arm.weight == 50

    asyncio.run(go())


def test_a_bundle_that_must_not_serve_is_refused_before_anything_is_written(registry: Registry) -> None:
    newest, middle, _ = registry.ids()
    failed = GateCheck(name="recall", passed=False, found="0.1", required="0.9")
    registry.save_gate_report(middle, GateResult(at=NOW, report=GateReport(bundle_id=middle, checks=(failed,))))
    missing = newest.replace(newest[-8:], "00000000")

    async def go() -> None:
        async with running(registry) as service:
            for bundle, code in ((middle, "gate_refused"), (missing, "unknown_bundle")):
                with pytest.raises(ServiceError) as refused:
                    await service.experiments.declare("trial", two_arms(bundle), by="test")
                assert refused.value.code == code
            assert (registry.experiments(), service.arms.experiment) == (NO_EXPERIMENTS, None)

    asyncio.run(go())


@pytest.mark.parametrize(("gated_after", "refused"), [(timedelta(hours=1), True), (-timedelta(hours=1), False)])
def test_a_bundle_that_was_published_is_refused_only_if_the_gate_refused_it_since(
    registry: Registry, gated_after: timedelta, refused: bool
) -> None:
    newest, _, oldest = registry.ids()
    registry.publish(newest, BY)
    registry.publish(oldest, BY)
    failed = GateCheck(name="recall", passed=False, found="0.1", required="0.9")
    report = GateReport(bundle_id=newest, checks=(failed,))
    registry.save_gate_report(newest, GateResult(at=NOW + gated_after, report=report))
    registry.change_experiments(lambda before: declared(before, "trial", two_arms(newest), BY))

    async def go() -> None:
        async with running(registry) as service:
            assert (service.arms.served["candidate"].slot is None) == refused

    asyncio.run(go())


def test_an_arm_whose_bundle_is_damaged_gets_no_user_and_its_users_get_the_control(registry: Registry) -> None:
    newest, _, oldest = registry.ids()
    (registry.path(newest) / "item_embeddings.npy").write_bytes(b"damaged")
    registry.change_experiments(lambda before: declared(before, "trial", two_arms(newest), BY))

    async def go() -> None:
        async with running(registry) as service:
            assert serving_bundles(service) == {oldest}
            diverted = [service.arms.choose(f"user-{i}", None) for i in range(200)]
            labels = Counter(one.label for one in diverted if one is not None and one.diverted)
            assert (list(labels), labels[None] > 50) == ([None], True)
            served = service.arms.served["candidate"]
            assert (served.slot, "item_embeddings.npy" in served.problem) == (None, True)
            with pytest.raises(ArmUnavailableError):
                service.arms.choose("user-1", "candidate")
            assert metric(service, "reco_arm_unavailable", arm="candidate") == 1

    asyncio.run(go())


def test_while_an_arms_next_bundle_cannot_serve_its_users_get_the_one_before(registry: Registry) -> None:
    newest, middle, oldest = registry.ids()
    registry.change_experiments(lambda before: declared(before, "trial", two_arms(middle), BY))

    async def go() -> None:
        async with running(registry) as service:
            (registry.path(newest) / "item_embeddings.npy").write_bytes(b"damaged")
            registry.change_experiments(lambda before: with_bundle(before, "trial", "candidate", newest, NOW))
            await service.experiments.bundles.poll()
            assert serving_bundles(service) == {oldest, middle}
            assert "item_embeddings.npy" in service.arms.served["candidate"].problem

    asyncio.run(go())


def test_an_arm_that_has_ended_gets_no_user_and_other_users_keep_their_arm(registry: Registry) -> None:
    newest, _, oldest = registry.ids()

    async def go() -> None:
        async with running(registry) as service:
            await service.experiments.declare("trial", two_arms(newest), by="test")
            await service.experiments.end_arm("trial", "candidate", by="test", why="slow")
            assert serving_bundles(service) == {oldest}
            assert service.catalogue.arms == []
            labels = {service.arms.label_of(f"user-{i}") for i in range(200)}
            assert labels == {"trial/1/control", None}

    asyncio.run(go())


def test_a_forced_arm_answers_any_user_and_is_not_counted(registry: Registry) -> None:
    newest, _, _ = registry.ids()

    async def go() -> None:
        async with running(registry) as service:
            with pytest.raises(UnknownArmError, match="no experiment runs"):
                service.arms.choose("user-1", "candidate")
            await service.experiments.declare("trial", two_arms(newest, share=0), by="test")
            chosen = service.arms.choose("user-1", "candidate")
            assert chosen is not None
            assert (chosen.loaded.bundle.bundle_id, chosen.label) == (newest, None)
            with pytest.raises(UnknownArmError, match="expected one of control, candidate"):
                service.arms.choose("user-1", "other")

    asyncio.run(go())


def test_a_bundle_that_no_arm_has_any_more_is_closed(registry: Registry) -> None:
    newest, middle, _ = registry.ids()

    async def go() -> None:
        async with running(registry) as service:
            await service.experiments.declare("trial", two_arms(middle), by="test")
            assert metric(service, "reco_bundles_open") == 2
            await service.experiments.publish("trial", "candidate", newest, by="test")
            await until(lambda: metric(service, "reco_bundles_open") == 2)
            await service.experiments.end("trial", by="test")
            await until(lambda: metric(service, "reco_bundles_open") == 1)

    asyncio.run(go())


def test_a_service_that_has_ended_keeps_no_bundle_open_in_a_process_that_goes_on(
    registry: Registry, valkey: Valkey
) -> None:
    async def go() -> Metrics:
        async with running(registry, redis_url=valkey.url) as service:
            await service.experiments.declare("trial", two_arms(registry.ids()[0]), by="test")
            assert metric(service, "reco_bundles_open") == 2
            return service.metrics

    metrics = asyncio.run(go())
    gc.collect()
    wait_until(lambda: metrics.registry.get_sample_value("reco_bundles_open") == 0)


def test_a_stored_item_appears_in_every_arm(registry: Registry) -> None:
    newest, _, _ = registry.ids()

    async def go() -> None:
        async with running(registry) as service:
            await service.experiments.declare("trial", two_arms(newest), by="test")
            await service.items.put({"item-3": GivenItem(title="Renamed")})
            slots = (service.current, *service.catalogue.arms)
            await until(lambda: {slot.loaded.items.shown(3).name for slot in slots} == {"Renamed"})
            await service.live.set_hidden("item-4", hidden=True)
            assert [4 in slot.loaded.hidden for slot in slots] == [True, True]

    asyncio.run(go())


def test_another_process_takes_up_what_the_registry_says(registry: Registry) -> None:
    newest, _, oldest = registry.ids()

    async def go() -> None:
        async with running(registry, bundle_poll_s=0.05) as service:
            registry.change_experiments(lambda before: declared(before, "trial", two_arms(newest), BY))
            await until(lambda: serving_bundles(service) == {oldest, newest})
            (registry.folder / "experiments.json").write_text("{damaged")
            await until(lambda: service.experiments.bundles.registry_error)
            assert serving_bundles(service) == {oldest, newest}

    asyncio.run(go())


def test_arms_of_one_catalogue_have_their_equal_files_in_memory_once(registry: Registry) -> None:
    newest, _, _ = registry.ids()

    async def go() -> None:
        async with running(registry) as service:
            await service.experiments.declare("trial", two_arms(newest), by="test")
            (slot,) = service.catalogue.arms
            bundle, published = slot.loaded.bundle, service.current.loaded.bundle
            assert bundle.item_ids.hashes is published.item_ids.hashes
            assert 0 < bundle.shared_bytes < bundle.file_bytes

    asyncio.run(go())
