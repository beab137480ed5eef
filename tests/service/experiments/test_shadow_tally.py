"""What is counted of a shadow, by hand."""

import orjson
import pytest

from service.experiments.shadow_summary import ShadowSummary
from service.experiments.shadow_tally import Compared, Listing, ShadowTally

WHICH = Compared("bigger", "new", "old")


def listing(*item_ids: str, score: float = 1.0, source: str = "user", seconds: float = 0.001) -> Listing:
    return Listing(item_ids, [score] * len(item_ids), source, seconds)


def tally_of(*pairs: tuple[Listing, Listing]) -> ShadowTally:
    tally = ShadowTally()
    for shown, shadow in pairs:
        tally.add(shown, shadow)
    return tally


def summary_of(*pairs: tuple[Listing, Listing]) -> ShadowSummary:
    return tally_of(*pairs).summary(WHICH, 0)


def test_the_overlap_is_the_share_of_shown_items_that_the_shadow_lists_too() -> None:
    summary = summary_of(
        (listing("a", "b", "c", "d"), listing("b", "x", "y", "z")),  # 1 of 4
        (listing("a", "b"), listing("b", "a")),  # both
        (listing("a", "b"), listing()),  # none
    )
    assert summary.mean_overlap == pytest.approx((0.25 + 1 + 0) / 3, abs=1e-4)
    assert summary.overlap_counts == (1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1)


def test_the_first_items_agree_where_both_lists_begin_with_the_same_one() -> None:
    summary = summary_of(
        (listing("a", "b"), listing("a", "c")), (listing("a", "b"), listing("b", "a")), (listing("a"), listing())
    )
    assert summary.same_first == pytest.approx(1 / 3, abs=1e-4)


def test_each_side_has_its_own_scores_times_and_items() -> None:
    summary = summary_of((listing("a", "b", score=2, seconds=0.002), listing("c", score=-7, seconds=0.03)))
    assert summary.shown.score_quantiles is not None
    assert summary.shadow.score_quantiles is not None
    assert summary.shown.score_quantiles["0.5"] == pytest.approx(2, rel=0.011)
    assert summary.shadow.score_quantiles["0.5"] == pytest.approx(-7, rel=0.011)
    assert (summary.shown.p50_ms, summary.shadow.p99_ms) == (pytest.approx(2, rel=0.011), pytest.approx(30, rel=0.011))
    assert (summary.shown.distinct_items, summary.shadow.distinct_items) == (2, 1)


def test_counts_of_users_in_popular_lists_are_no_scores() -> None:
    popular = listing("a", score=900, source="popular")
    assert summary_of((popular, popular)).shown.score_quantiles is None


def test_a_tally_that_went_through_json_and_was_merged_is_that_of_all_requests() -> None:
    pairs = [(listing("a", "b"), listing("b", score=3)), (listing("a", "c"), listing("a", score=5, seconds=1))]
    first, second = (ShadowTally.of_record(orjson.loads(orjson.dumps(tally_of(one).record()))) for one in pairs)
    second.dropped, second.errors = 2, 3
    first.merge(second)
    expected = tally_of(*pairs)
    expected.dropped, expected.errors = 2, 3
    assert first.summary(WHICH, 0) == expected.summary(WHICH, 0)


def test_a_summary_of_nothing_has_no_figures() -> None:
    summary = ShadowTally().summary(WHICH, workers_missing=1)
    assert (summary.mean_overlap, summary.same_first, summary.shown.p99_ms) == (None, None, None)
    assert summary.workers_missing == 1
