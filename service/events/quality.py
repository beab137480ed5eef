"""Online quality of responses: click-through and hit rates, from clicks joined to impressions by request id.

Both logs count events by time bucket, bundle and name as they arrive; this file turns the counts into rates. An answer
is a request id with an impression; it belongs to the bucket and bundle of its first impression. A click that arrives
before its impression counts from the impression on; a click without an impression does not count.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from service.events.event import KINDS, OTHER
from service.events.log import EventCount

BUCKET_S = 300  # windows begin and end at multiples of this: 288 counts a day for each kind and bundle

# Names of counts beside the kinds of events.
ANSWERS, SHOWN, CLICKED, HITS = "answers", "shown", "clicked", "hits"


def bucket_of(timestamp: float) -> int:
    """The start of the bucket that the time falls into."""
    return int(timestamp // BUCKET_S) * BUCKET_S


def quality(counts: Iterable[EventCount]) -> dict[str, Any]:
    """The body of /quality: `overall`, and `bundles` with one entry a bundle, most answers first."""
    by_bundle: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    overall: dict[str, int] = defaultdict(int)
    for count in counts:
        by_bundle[count.bundle][count.name] += count.n
        overall[count.name] += count.n
    bundles = [{"bundle": bundle or None, **_rates(by_name)} for bundle, by_name in by_bundle.items()]
    bundles.sort(key=lambda entry: (-entry["answers"], entry["bundle"] or ""))
    return {"overall": _rates(overall), "bundles": bundles}


def _rates(by_name: dict[str, int]) -> dict[str, Any]:
    """The rates of one set of counts; null where nothing was shown."""
    answers, shown = by_name.get(ANSWERS, 0), by_name.get(SHOWN, 0)
    clicks, hits = by_name.get(CLICKED, 0), by_name.get(HITS, 0)
    return {
        "answers": answers,
        "items_shown": shown,
        "clicks": clicks,
        "click_through_rate": clicks / shown if shown else None,
        "hit_rate": hits / answers if answers else None,
        "events": {kind: by_name[kind] for kind in sorted((*KINDS, OTHER)) if by_name.get(kind)},
    }
