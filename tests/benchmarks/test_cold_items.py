"""Hidden items are gone from what trains, and the content path finds them where content tells everything."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from worlds import topics_dataset

from benchmarks.cold_items.draw import Draw
from benchmarks.cold_items.hiding import PreparedData, hidden_rows, open_prepared, write_without
from benchmarks.cold_items.measuring import CONTENT, MODEL, POPULAR, RANDOM, TRAINED, OfflineResult, measure_offline
from benchmarks.cold_items.recall import K, Target
from benchmarks.cold_items.report import summary
from index.errors import InputError
from index.registry import Registry
from trainer.config import load_config
from trainer.data import Dataset, load_dataset
from trainer.export import export_run
from trainer.fit import fit
from trainer.run_folder import RunFolder

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def trained(dataset: Dataset, folder: Path) -> Path:
    run = RunFolder(folder / "run")
    fit(dataset, load_config("anchorease", ("model.embedding_size=16",)), run)
    return export_run(run, Registry(folder / "bundles"), created_at=NOW, factory="Flat")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[PreparedData, np.ndarray, Dataset, OfflineResult]:
    """160 items of 4 topics, 32 of them hidden; each user likes one topic, which the features of an item tell."""
    root = tmp_path_factory.mktemp("cold")
    full = topics_dataset(root / "full", n_users=80, n_items=160, per_user=12)
    data, hidden = open_prepared(root / "full"), hidden_rows(160, 0.2, seed=1)
    write_without(data, hidden, root / "without")
    without = load_dataset(root / "without")
    result = measure_offline(data, hidden, 1, trained(without, root / "a"), trained(full, root / "b"))
    return data, hidden, without, result


def test_what_trains_has_every_user_and_split_and_nothing_of_the_hidden_items(
    world: tuple[PreparedData, np.ndarray, Dataset, OfflineResult],
) -> None:
    data, hidden, without, _ = world
    assert without.user_ids == data.user_ids
    ids = data.items["item_id"].to_list()
    assert without.item_ids == [ids[row] for row in range(160) if row not in hidden]
    users, items = data.pairs(train=True)
    expected = {(int(user), ids[item]) for user, item in zip(users, items, strict=True) if item not in hidden}
    train = without.split("train")
    pairs = zip(train.user_rows.tolist(), train.item_rows.tolist(), strict=True)
    assert {(user, without.item_ids[row]) for user, row in pairs} == expected
    kept = np.setdiff1d(np.arange(160), hidden)
    np.testing.assert_array_equal(without.features["image"], data.features["image"][kept])


def test_items_whose_content_tells_everything_are_found_and_others_are_not(
    world: tuple[PreparedData, np.ndarray, Dataset, OfflineResult],
) -> None:
    *_, result = world
    assert result.n_hidden == 32
    assert min(result.among_cold[name] for name in (MODEL, CONTENT, TRAINED)) == 1.0  # 8 of a topic, and K is 20
    assert result.among_cold[RANDOM] == pytest.approx(K / 32, abs=0.15)
    assert result.among_all[POPULAR] == 0.0  # none of them has an interaction yet
    assert result.among_all[MODEL] > 2 * result.among_all[RANDOM]


def test_the_summary_is_the_mean_of_the_draws(world: tuple[PreparedData, np.ndarray, Dataset, OfflineResult]) -> None:
    *_, result = world
    found = summary([Draw(result, []), Draw(result, [])])
    assert found["among_cold"] == pytest.approx(result.among_cold)
    assert found["times_the_content_baseline"] == 1.0


def test_recall_is_the_share_of_wanted_items_in_the_list_without_the_past(
    world: tuple[PreparedData, np.ndarray, Dataset, OfflineResult],
) -> None:
    data, hidden, *_ = world
    target = Target(data, hidden, np.ones(80, np.bool_))
    users, items = data.pairs(train=False)
    scores = np.zeros((80, 160), np.float32)
    scores[users, items] = 1
    assert target.recall(scores, np.arange(160)) == 1.0
    scores[data.pairs(train=True)] = 2  # their past is left out, whatever its score
    assert target.recall(scores, np.arange(160)) == 1.0
    assert target.recall_of_lists([np.empty(0, np.int64)] * len(target.users)) == 0.0


def test_the_same_seed_hides_the_same_items() -> None:
    np.testing.assert_array_equal(hidden_rows(100, 0.05, 3), hidden_rows(100, 0.05, 3))
    assert len(hidden_rows(100, 0.05, 3)) == 5


def test_a_folder_that_is_no_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"found no dataset\.json"):
        open_prepared(tmp_path)
