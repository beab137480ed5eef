"""The choice of an index with real FAISS, over a few thousand items."""

import json
import re
from functools import cache

import numpy as np
import pytest
from typer.testing import CliRunner

from index.__main__ import app
from index.auto.build import IndexData, Tell, choose_index, make_index, predict
from index.auto.choice import AutoLimits
from index.auto.measure import Bench, tuning_users
from index.benchmarks.clustered_vectors import clustered_vectors
from index.errors import InputError
from index.item_index import ItemIndex, exact_search
from index.kinds import KindOfIndex, kinds_for
from index.manifest import IndexInfo, TriedIndex
from index.recall import measured_users

N = 3_000
FEW_KINDS = ("SQ8", "IVF,SQ8", "IVF,PQ12x4fs", "HNSW32")
FROM_NOTHING = AutoLimits(exact_below=0, seconds=60)


@cache
def data() -> IndexData:
    made = clustered_vectors(N, 24, n_queries=900)
    return IndexData(made.vectors, made.queries, made.seen.__getitem__)


def few_kinds(n: int, d: int) -> list[KindOfIndex]:
    return [kind for kind in kinds_for(n, d) if re.sub(r"IVF\d+", "IVF", kind.factory) in FEW_KINDS]


def choose(limits: AutoLimits = FROM_NOTHING, tell: Tell | None = None) -> tuple[ItemIndex, IndexInfo]:
    return choose_index(data(), limits, tell, kinds=few_kinds, n_sample=1_000)


TOLD: list[tuple[str, int, int]] = []


@cache
def chosen() -> tuple[ItemIndex, IndexInfo]:
    return choose(tell=lambda *what: TOLD.append(what))


def test_below_the_size_nothing_is_tried():
    index, info = choose_index(data())
    assert (info.factory, info.tried, info.promised) == ("Flat", (), 0.99)
    assert info.why == "exact: 3,000 items of 24 dimensions; others are tried from 133,334 on"
    assert info.recall == {"recall@20": 1.0, "recall@100": 1.0}
    assert index.settings == {}


def test_the_index_is_one_that_was_measured_and_keeps_its_promise():
    index, info = chosen()
    (kept,) = [one for one in info.tried if one.outcome == "kept"]
    assert (kept.factory, kept.settings, kept.items) == (info.factory, index.settings, N)
    assert kept.recall >= info.promised == 0.99
    assert info.recall["recall@20"] >= 0.99
    assert all(one.outcome for one in info.tried)
    assert {1_000, N} == {one.items for one in info.tried}


def test_the_recall_of_each_kind_and_setting_is_the_same_in_every_run():
    def recalls(info: IndexInfo) -> dict[tuple[object, ...], float]:
        return {(one.factory, one.items, *one.settings.items()): one.recall for one in info.tried}

    first, second = recalls(chosen()[1]), recalls(choose()[1])
    common = first.keys() & second.keys()
    assert ("Flat", N) in common
    assert {key: first[key] for key in common} == {key: second[key] for key in common}


def test_no_index_is_too_small_for_a_tiny_memory():
    _, info = choose(AutoLimits(exact_below=0, memory=0))
    assert info.factory == "Flat"
    assert info.why.startswith("exact: none of ")


def test_no_time_gives_exact_search():
    _, info = choose(AutoLimits(exact_below=0, seconds=0))
    assert (info.factory, [one.factory for one in info.tried]) == ("Flat", ["Flat"])
    assert "not for lack of time" in info.why


def test_few_users_give_exact_search():
    few = IndexData(data().vectors, data().users[:520], data().seen)
    assert choose_index(few, FROM_NOTHING)[1].why == "exact: 8 users to tune with; expected 32 or more"


def test_no_user_both_tunes_and_measures():
    users = data().users.copy()
    users[1::2] = 0  # of whom nothing is known
    tuning = tuning_users(users, N, seed=0)
    assert len(set(tuning.tolist())) == len(tuning) > 32
    assert not set(tuning.tolist()) & set(measured_users(len(users), N).tolist())
    assert users[tuning].any(axis=1).all()


def test_a_bench_leaves_out_what_a_user_has_seen_on_a_sample_too():
    bench = Bench.of(data().vectors, data().users[:40], [data().seen(user) for user in range(40)])
    sample = bench.sample(500, seed=0)
    for query, seen in zip(sample.queries, sample.seen, strict=True):
        rows, _ = exact_search(sample.vectors, query, 20, seen)
        assert not set(rows[0].tolist()) & set(seen.tolist())
    seen_vectors = {data().vectors[row].tobytes() for row in data().seen(7)}
    assert {sample.vectors[row].tobytes() for row in sample.seen[7]} == seen_vectors & {
        vector.tobytes() for vector in sample.vectors
    }
    assert sum(map(len, sample.seen)) > 0


def test_a_narrow_setting_has_less_recall_than_a_wide_one():
    bench = Bench.of(data().vectors, data().users[:40], [data().seen(user) for user in range(40)])
    index = ItemIndex.build(data().vectors, "IVF64,Flat")
    assert bench.measure(index.with_settings({"nprobe": 1})).recall < 0.9
    assert bench.measure(index.with_settings({"nprobe": 64})).recall == bench.recall(index) == 1.0
    attempt = bench.attempt(KindOfIndex("IVF64,Flat", ({"nprobe": 1}, {"nprobe": 63}, {"nprobe": 64})), 0.99, np.inf)
    assert attempt.tried.settings == attempt.index.settings
    assert 1 < attempt.index.settings["nprobe"] <= 63


@pytest.mark.parametrize(
    ("factory", "expected"), [("SQ8", (100, 100)), ("IVF64,SQ8", (10, 251)), ("HNSW32", (2.5, 251))]
)
def test_what_grows_with_the_items_is_predicted_by_the_kind(factory, expected):
    one = TriedIndex(factory=factory, items=1_000, recall=1, ms=1, build_s=1, bytes_per_item=8)
    found = predict(one, 100_000)
    assert (found.ms, found.build_s) == pytest.approx(expected, rel=0.01)
    assert found.n_bytes == 800_000


def test_progress_is_told():
    _, info = chosen()
    assert [before for _, before, _ in TOLD] == list(range(len(info.tried) - 1))  # all but the exact one
    assert all(before < most for _, before, most in TOLD)
    assert "on a sample" in TOLD[0][0]
    told: list[tuple[str, int, int]] = []
    make_index(data(), "IVF8,Flat", tell=lambda *what: told.append(what))
    assert told == [("IVF8,Flat", 0, N), ("IVF8,Flat", N, N)]


def test_auto_tunes_its_settings_itself():
    with pytest.raises(InputError, match="nprobe 8 given to auto, which tunes its settings; expected a factory"):
        make_index(data(), "auto", settings={"nprobe": 8})


def test_the_auto_bench_shows_the_choice_that_a_bundle_would_have():
    def run(*arguments: str) -> str:
        items = ["bench-auto", "--items", "1200", "--size", "8", "--users", "700"]
        return CliRunner().invoke(app, [*items, *arguments], env={"COLUMNS": "160"}).stdout

    info = json.loads(run("--json"))
    assert {one["outcome"] for one in info["tried"]} >= {"kept", "slower"}
    assert len(info["tried"]) > 6
    assert "within 4 GiB and 900 s" in info["why"]
    printed = run("--index-seconds", "0")
    assert "kinds of index tried" in printed
    assert "Flat (exact: none of " in printed
    assert "python -m index bench-auto --items" in " ".join(run("--help").split())
