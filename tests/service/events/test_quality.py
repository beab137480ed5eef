import pytest

from service.events.log import EventCount
from service.events.quality import BUCKET_S, bucket_of, quality


def test_rates_are_of_what_was_shown_and_null_where_nothing_was() -> None:
    found = quality(
        [
            EventCount("b1", "answers", 4),
            EventCount("b1", "shown", 40),
            EventCount("b1", "clicked", 6),
            EventCount("b1", "hits", 3),
            EventCount("b1", "impression", 4),
            EventCount("", "purchase", 2),
            EventCount("", "other", 1),
        ]
    )
    b1, nameless = found["bundles"]
    assert (b1["bundle"], b1["click_through_rate"], b1["hit_rate"]) == ("b1", 0.15, 0.75)
    assert (nameless["bundle"], nameless["click_through_rate"], nameless["hit_rate"]) == (None, None, None)
    assert nameless["events"] == {"purchase": 2, "other": 1}
    assert found["overall"]["events"] == {"impression": 4, "purchase": 2, "other": 1}


def test_no_events_are_no_bundles() -> None:
    assert quality([])["bundles"] == []


@pytest.mark.parametrize(("timestamp", "start"), [(0, 0), (BUCKET_S - 0.1, 0), (BUCKET_S, BUCKET_S)])
def test_a_bucket_begins_at_a_multiple_of_its_length(timestamp: float, start: int) -> None:
    assert bucket_of(timestamp) == start
