"""How good the answers were: clicks joined to what was shown, by the request id of the answer.

Both logs keep running sums by bucket of time, bundle and name, as events come in; here they become rates. An answer
is a request id of which an impression came; it belongs to the bucket and bundle of its first impression. A click
that comes before its impression counts from the impression on; one that names no shown answer does not count.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from service.events.event import KINDS, OTHER
from service.events.log import Count

BUCKET_S = 300  # windows begin and end at multiples of this: 288 sums a day, kind and bundle

# Sums beside those of the kinds of events.
ANSWERS, SHOWN, CLICKED, HITS = "answers", "shown", "clicked", "hits"


def bucket_of(timestamp: float) -> int:
    """The start of the bucket that the time falls into."""
    return int(timestamp // BUCKET_S) * BUCKET_S


def quality(counts: Iterable[Count]) -> dict[str, Any]:
    """`overall`, and `bundles` with one entry a bundle, the one with most answers first."""
    by_bundle: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    overall: dict[str, int] = defaultdict(int)
    for count in counts:
        by_bundle[count.bundle][count.name] += count.n
        overall[count.name] += count.n
    bundles = [{"bundle": bundle or None, **figures(sums)} for bundle, sums in by_bundle.items()]
    bundles.sort(key=lambda one: (-one["answers"], one["bundle"] or ""))
    return {"overall": figures(overall), "bundles": bundles}


def figures(sums: dict[str, int]) -> dict[str, Any]:
    """Rates of one set of sums; null where nothing was shown."""
    answers, shown = sums.get(ANSWERS, 0), sums.get(SHOWN, 0)
    clicks, hits = sums.get(CLICKED, 0), sums.get(HITS, 0)
    return {
        "answers": answers,
        "items_shown": shown,
        "clicks": clicks,
        "click_through_rate": clicks / shown if shown else None,
        "hit_rate": hits / answers if answers else None,
        "events": {kind: sums[kind] for kind in sorted((*KINDS, OTHER)) if sums.get(kind)},
    }
