"""A bundle that took items in ranks, explains and filters like a bundle that had them from the start."""

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest
from bundles import MADE_AT, make_features, make_living_content
from stored_items import deleted, put, stored

from index.bundle import Bundle, open_bundle, write_bundle
from index.content_path import ContentPath
from index.recommending.profile import fold_in, trained_profile
from index.recommending.session import Session, SessionWeights, session_profile
from service.bundles.loaded import LoadedBundle, load_bundle
from service.ranking.constraints import Filters, filter_constraints
from service.ranking.diversity import BY_SCORE
from service.ranking.turns import Lane, Turn
from service.settings import Settings
from service.telemetry.metrics import Metrics

N, LATE = 40, 6
CATEGORIES = ("lamp", "chair")


class NoUsers:
    """Instead of a lookup, which these tests do without."""

    def over(self, *_: object) -> "NoUsers":
        return self


def new_items() -> list:
    return [
        stored(f"new-{i}", seed=i, title=f"New {i}", categories=(CATEGORIES[i % 2],), attributes={"material": "tin"})
        for i in range(LATE)
    ]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("registry")
    return open_bundle(write_bundle(folder, make_living_content(), created_at=MADE_AT, factory="Flat"))


def loaded_of(bundle: Bundle) -> LoadedBundle:
    settings = Settings(registry=bundle.path.parent, gpu="off")
    return load_bundle(bundle, NoUsers(), settings, Metrics())  # type: ignore[arg-type]


@pytest.fixture
def living(trained: Bundle) -> LoadedBundle:
    loaded = loaded_of(trained)
    loaded.living.apply(put(*new_items()))
    refreshed = loaded.refreshed()
    refreshed.hide(np.empty(0, np.int64))
    return refreshed


@pytest.fixture(scope="module")
def from_the_start(trained: Bundle, tmp_path_factory: pytest.TempPathFactory) -> LoadedBundle:
    """A bundle that was written with the same items, which no user had."""
    rows = ContentPath.of(trained).rows([make_features(1, seed=i)[0] for i in range(LATE)])
    content = make_living_content()
    nothing = np.zeros((LATE, 8), np.float32)
    parts = {name: rows.parts.get(name, nothing) for name in content.item_parts}
    records = [
        {"title": f"New {i}", "category": CATEGORIES[i % 2], "attributes": {"material": "tin"}, "image": None}
        for i in range(LATE)
    ]
    both = replace(
        content,
        item_ids=[*content.item_ids, *(f"new-{i}" for i in range(LATE))],
        item_embeddings=np.concatenate([content.item_embeddings, rows.embeddings]),
        item_parts={name: np.concatenate([part, parts[name]]) for name, part in content.item_parts.items()},
        fold_in=np.concatenate([content.fold_in, rows.fold_in]),
        popularity_count=np.append(content.popularity_count, np.zeros(LATE, np.int64)),
        popularity_trend=np.append(content.popularity_trend, np.zeros(LATE, np.float32)),
        neighbours={name: np.concatenate([part, rows.neighbours[name]]) for name, part in content.neighbours.items()},
        items=[*content.items, *records],
    )
    folder = tmp_path_factory.mktemp("both")
    return loaded_of(open_bundle(write_bundle(folder, both, created_at=MADE_AT, factory="Flat")))


def turn() -> Turn:
    return Turn(Lane())


async def ranked(loaded: LoadedBundle, profile, k: int, filters: Filters = Filters()):  # noqa: B008 - immutable
    constraints = await filter_constraints(filters, loaded.bundle.item_ids, loaded.facet_store)
    (ranking,) = await loaded.ranker.rank(
        [profile], k, exclude_seen=True, constraints=constraints, order=BY_SCORE, turn=turn()
    )
    return ranking


def close(one, other) -> None:
    assert one.rows.tolist() == other.rows.tolist()
    np.testing.assert_allclose(one.scores, other.scores, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("filters", [Filters(), Filters(categories=["lamp"]), Filters(required=[("material", "tin")])])
def test_lists_after_a_put_are_those_of_a_bundle_that_had_the_items_from_the_start(living, from_the_start, filters):
    async def compare() -> None:
        for user in range(0, 29, 4):
            mine, theirs = (trained_profile(one.bundle, user) for one in (living, from_the_start))
            close(await ranked(living, mine, 20, filters), await ranked(from_the_start, theirs, 20, filters))
        close(await ranked(living, None, 46, filters), await ranked(from_the_start, None, 46, filters))

    asyncio.run(compare())


def test_similar_items_after_a_put_are_those_of_a_bundle_that_had_them_from_the_start(living, from_the_start):
    async def compare() -> None:
        for by in living.similar_items.spaces:
            for row in (3, N, N + 5):
                found = [await one.similar_items.nearest(row, 12, by) for one in (living, from_the_start)]
                if found[1] is None:
                    assert found[0] is None
                    continue
                assert found[0][0].tolist() == found[1][0].tolist(), by
                np.testing.assert_allclose(found[0][1], found[1][1], atol=1e-4)
        assert run(living.similar_items.users_in_common(3, np.array([N]))) == [0]

    asyncio.run(compare())


def test_the_shares_of_a_new_item_sum_to_its_score_and_say_that_it_is_new(living):
    profile = trained_profile(living.bundle, 2)
    ranking = asyncio.run(ranked(living, profile, N + LATE))
    explained = run(living.recommender.explain(profile, ranking, most=3, exclude_seen=True, counterfactual=True))
    new = [i for i, row in enumerate(ranking.rows.tolist()) if row >= N]
    assert len(new) == LATE
    for i, text in enumerate(explained):
        told = orjson.loads(text)
        assert sum(told["parts"].values()) == pytest.approx(ranking.scores[i], abs=1e-4)
        past = sum(one["contribution"] for one in told["past_items"]) + told["other_past_items"] + told["user_own"]
        assert past == pytest.approx(ranking.scores[i], abs=1e-4)
        if i in new:
            assert set(told["parts"]) == {"id", "text", "image", "multimodal", "anchor"}
            assert (told["parts"]["id"], told["parts"]["multimodal"]) == (0, 0)
            assert "; new: no user has had it yet; " in told["sentence"] or told["sentence"].startswith("Nothing ")
        else:
            assert "new:" not in told["sentence"]


def run(steps):
    try:
        while True:
            next(steps)
    except StopIteration as done:
        return done.value


def test_a_session_with_a_new_item_is_folded_in(living, from_the_start):
    weights = SessionWeights(liked=1, disliked=0.5)
    session = Session([("new-1", 1.0), ("item-3", 1.0)], liked=["new-2"], disliked=["new-3"])
    mine, theirs = (session_profile(one.bundle, None, session, weights) for one in (living, from_the_start))
    np.testing.assert_allclose(mine.vector, theirs.vector, rtol=1e-4, atol=1e-5)
    close(asyncio.run(ranked(living, mine, 10)), asyncio.run(ranked(from_the_start, theirs, 10)))
    assert N + 3 not in asyncio.run(ranked(living, mine, N)).rows


def test_deleted_unavailable_and_hidden_items_are_in_no_list_of_any_kind(living):
    living.living.apply(put(stored("new-1", seed=1, available=False)) + deleted("new-2", "item-5"))
    after = living.refreshed()
    after.hide(np.array([7, N + 4]))
    gone = {5, 7, N + 1, N + 2, N + 4}
    assert set(after.hidden.tolist()) == gone

    async def shown() -> None:
        profile = fold_in(after.bundle, np.array([0]), np.ones(1, np.float32), source="session")
        for ranking in (await ranked(after, profile, 60), await ranked(after, None, 60)):
            assert gone & set(ranking.rows.tolist()) == set()
            assert len(ranking.rows) >= N + LATE - len(gone) - 1
        plain = await after.recommender.recommend(profile, 60, exclude_seen=False)
        assert gone & set(plain.rows.tolist()) == set()
        for by in ("fused", "text"):
            rows, _ = await after.similar_items.nearest(0, 60, by)
            assert gone & set(rows.tolist()) == set()

    asyncio.run(shown())


def test_a_state_shares_what_a_change_of_a_record_leaves_as_it_is(living):
    living.items.shown(3), living.items.shown(4)
    living.living.apply(put(stored("item-4", title="Renamed")))
    after = living.refreshed()
    assert after.items.shown(3) is living.items.shown(3)
    assert (after.items.shown(4).name, living.items.shown(4).name) == ("Renamed", "brass chair no. 4")
    assert after.recommender.by_popularity is living.recommender.by_popularity
    assert after.recommender.popularity is living.recommender.popularity
    assert (after.lifetime, after.traffic) == (living.lifetime, living.traffic)


def test_filters_follow_changed_records_at_once(living):
    living.living.apply(put(stored("item-4", categories=("new kind",)), stored("new-0", attributes={"colour": "red"})))
    after = living.refreshed()
    after.hide(np.empty(0, np.int64))

    async def rows(filters: Filters) -> list[int]:
        return sorted((await ranked(after, None, 60, filters)).rows.tolist())

    assert asyncio.run(rows(Filters(categories=["new kind"]))) == [4]
    assert asyncio.run(rows(Filters(required=[("colour", "red")]))) == [N]


def test_an_older_state_answers_as_before(living):
    profile = trained_profile(living.bundle, 1)
    before = asyncio.run(ranked(living, profile, 46))
    living.living.apply(put(*[stored(f"newer-{i}", seed=50 + i) for i in range(9)], stored("new-0", seed=77)))
    after = living.refreshed()
    after.hide(np.empty(0, np.int64))
    close(asyncio.run(ranked(living, profile, 46)), before)
    assert len(asyncio.run(ranked(after, profile, 60)).rows) == len(before.rows) + 9


def test_registry_is_as_the_bundle_says(living: LoadedBundle, trained: Bundle) -> None:
    assert set(living.bundle.arrays()) == set(trained.arrays())
    assert living.bundle.index() is trained.index()
    assert Path(living.bundle.path) == trained.path
