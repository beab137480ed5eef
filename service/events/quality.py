"""Online quality of responses: clicks and purchases joined to impressions by request id and item.

Both logs count events by time bucket, bundle and name as they arrive; this file turns the counts into rates. An answer
is a request id with an impression. Its figures depend on the set of its events alone, not on their order or number:

* it belongs to the bucket of its earliest impression, and to the bundle that its impressions name;
* it shows the items that its impressions name, or as many as the value of one impression says, if that is more;
* an item counts as clicked, and as a conversion, once; of the items that no impression names at most as many as were
  shown without a name;
* its revenue is what all conversions of its items paid; of items beyond those shown, their mean for each shown one.
"""

from collections import defaultdict
from collections.abc import Iterable
from math import sqrt
from statistics import NormalDist
from typing import Any

from service.events.event import OTHER, THOUSAND
from service.events.log import EventCount

# Names of counts beside the kinds of events.
ANSWERS, SHOWN, CLICKED, HITS, CONVERSIONS = "answers", "shown", "clicked", "hits", "conversions"
REVENUE = "revenue"  # in thousandths
FIGURES = (ANSWERS, SHOWN, CLICKED, HITS, CONVERSIONS, REVENUE)

UNKNOWN_BUNDLE = "*"  # the label of names that no bundle has; smaller than any name of a bundle
Z = NormalDist().inv_cdf(0.975)  # of intervals that hold the rate with 95%


def quality(counts: Iterable[EventCount]) -> dict[str, Any]:
    """The body of /quality: `overall`, and `bundles` with one entry a bundle, most answers first."""
    by_bundle: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    overall: dict[str, int] = defaultdict(int)
    for count in counts:
        by_bundle[count.bundle][count.name] += count.n
        overall[count.name] += count.n
    bundles = [{"bundle": shown_name(label), **_rates(by_name)} for label, by_name in by_bundle.items()]
    bundles.sort(key=lambda entry: (-entry["answers"], entry["bundle"] or ""))
    return {"overall": _rates(overall), "bundles": bundles}


def shown_name(label: str) -> str | None:
    """The name of a bundle in the body, by the label of its counts."""
    return OTHER if label == UNKNOWN_BUNDLE else label or None


def _rates(by_name: dict[str, int]) -> dict[str, Any]:
    """The rates of one set of counts; null where nothing was shown."""
    answers, shown = by_name.get(ANSWERS, 0), by_name.get(SHOWN, 0)
    clicks, hits, conversions = (by_name.get(name, 0) for name in (CLICKED, HITS, CONVERSIONS))
    revenue = by_name.get(REVENUE, 0) / THOUSAND
    return {
        "answers": answers,
        "items_shown": shown,
        "clicks": clicks,
        "click_through_rate": clicks / shown if shown else None,
        "click_through_interval": wilson(clicks, shown),
        "hit_rate": hits / answers if answers else None,
        "hit_interval": wilson(hits, answers),
        "conversions": conversions,
        "conversion_rate": conversions / shown if shown else None,
        "conversion_interval": wilson(conversions, shown),
        "revenue": revenue,
        "revenue_per_answer": revenue / answers if answers else None,
        "events": {name: n for name, n in sorted(by_name.items()) if n and name not in FIGURES},
    }


def wilson(successes: int, trials: int) -> tuple[float, float] | None:
    """Wilson's 95% interval of a rate; None without trials."""
    if trials <= 0:
        return None
    successes = max(0, min(successes, trials))  # counts of the first release had clicks beyond what was shown
    rate, square = successes / trials, Z * Z / trials
    centre = rate + square / 2
    spread = Z * sqrt(rate * (1 - rate) / trials + square / (4 * trials))
    low, high = (centre - spread) / (1 + square), (centre + spread) / (1 + square)
    # A rate of 0 or 1 lies in its interval also after rounding.
    return max(0.0, min(low, rate)), min(1.0, max(high, rate))
