"""The registry keeps the experiments: changed by one process after another, and never half."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from bundles import write_tiny_bundle

from index.errors import InputError
from index.experiments import NO_EXPERIMENTS, Arm, Experiment, Experiments
from index.records import PointerMove
from index.registry import Registry

NOW = datetime(2026, 11, 30, tzinfo=UTC)


def trial(*bundles: str) -> Experiment:
    arms = [
        Arm(name="control", weight=100),
        *(Arm(name=f"arm-{i}", weight=0, bundle=one) for i, one in enumerate(bundles)),
    ]
    move = PointerMove(at=NOW, by="test")
    return Experiment(
        name="trial", salt="s", metric="conversion", expected_lift=0.1, arms=tuple(arms), started=move, phase_at=NOW
    )


def test_changes_of_several_processes_are_all_kept(tmp_path: Path) -> None:
    def change(i: int) -> None:
        Registry(tmp_path).change_experiments(lambda before: before.with_applied(f"file-{i}"))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(change, range(12)))
    assert sorted(Registry(tmp_path).experiments().applied) == sorted(f"file-{i}" for i in range(12))


def test_a_refused_change_writes_nothing(tmp_path: Path) -> None:
    def refuse(_: Experiments) -> Experiments:
        raise ValueError("refused")

    with pytest.raises(ValueError, match="refused"):
        Registry(tmp_path).change_experiments(refuse)
    assert Registry(tmp_path).experiments() == NO_EXPERIMENTS
    assert not (tmp_path / "experiments.json").exists()


def test_a_damaged_document_is_told_and_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "experiments.json").write_text('{"running": 1}')
    with pytest.raises(InputError, match=r"experiments\.json is damaged \(running"):
        Registry(tmp_path).change_experiments(lambda before: before)


def test_prune_keeps_the_bundles_of_the_running_experiment(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    oldest, arm, newest = (write_tiny_bundle(tmp_path, after_seconds=i).name for i in range(3))
    registry.publish(newest)
    registry.change_experiments(lambda before: before.model_copy(update={"running": trial(arm)}))
    assert registry.prune(0) == [oldest]
    registry.change_experiments(lambda before: before.with_ended(trial(arm)))
    assert registry.prune(0) == [arm]


def test_the_bundle_that_an_arm_would_go_back_to_is_not_pruned(tmp_path: Path) -> None:
    oldest, old, new, newest = (write_tiny_bundle(tmp_path, after_seconds=i).name for i in range(4))
    registry = Registry(tmp_path)
    registry.publish(newest)
    running = trial(new)
    running = running.with_arm(running.arms[1].model_copy(update={"history": (oldest, old)}))
    registry.change_experiments(lambda before: before.model_copy(update={"running": running}))
    assert registry.prune(keep=0) == [oldest]


def test_a_bundle_that_was_bad_in_an_arm_is_withdrawn_until_it_is_readmitted_but_never_the_published_one(
    tmp_path: Path,
) -> None:
    published, bad = (write_tiny_bundle(tmp_path, after_seconds=i).name for i in range(2))
    registry, move = Registry(tmp_path), PointerMove(at=NOW, by="test", why="slow")
    registry.publish(published)
    for bundle_id in (published, bad):
        registry.withdraw_unpublished(bundle_id, move)
    assert [registry.record(bundle_id).withdrawn for bundle_id in (published, bad)] == [None, move]
    registry.readmit(bad)
    assert registry.record(bad).withdrawn is None
