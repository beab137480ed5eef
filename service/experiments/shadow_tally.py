"""What is counted of a shadow beside the bundle that is shown."""

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import orjson
from datasketches import cpc_sketch, cpc_union, kll_doubles_sketch

from service.experiments.shadow_summary import ShadowSummary, SideSummary

TENTHS = 10  # of an overlap
SCORE_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
UNSCORED = "popular"  # the source of lists whose scores are counts of users
PLACES = 4  # decimal ones of what a summary shows
KLL_K = 400  # of quantiles: their rank is right within 0.8%
CPC_LG_K = 11  # of the number of items: right within some 3%


class Compared(NamedTuple):
    """Which bundle was compared with which."""

    experiment: str
    bundle: str  # the shadow's
    shown_bundle: str


class Listing(NamedTuple):
    """The list in one answer."""

    item_ids: Sequence[str]  # best first
    scores: Sequence[float]
    source: str
    seconds: float  # that it took to compute

    @classmethod
    def parse(cls, rendered: bytes, seconds: float) -> Self:
        """The list of an answer's JSON after the opening brace."""
        answer = orjson.loads(b"{" + rendered)
        items: Sequence[Mapping[str, Any]] = answer["items"]
        return cls([one["item_id"] for one in items], [one["score"] for one in items], answer["source"], seconds)


@dataclass
class SideTally:
    """The lists of one of the two bundles."""

    scores: Any = field(default_factory=lambda: kll_doubles_sketch(KLL_K))
    seconds: Any = field(default_factory=lambda: kll_doubles_sketch(KLL_K))
    items: Any = field(default_factory=lambda: cpc_sketch(CPC_LG_K))

    def add(self, listing: Listing) -> None:
        self.seconds.update(listing.seconds)
        for item_id in listing.item_ids:
            self.items.update(item_id)
        if listing.source != UNSCORED:
            for score in listing.scores:
                self.scores.update(score)

    def merge(self, other: Self) -> None:
        """Add the other's lists."""
        self.scores.merge(other.scores)
        self.seconds.merge(other.seconds)
        union = cpc_union(CPC_LG_K)
        union.update(self.items)
        union.update(other.items)
        self.items = union.get_result()

    def record(self) -> list[str]:
        """As JSON values, of which `of_record` makes it again."""
        return [b64encode(sketch.serialize()).decode() for sketch in (self.scores, self.seconds, self.items)]

    @classmethod
    def of_record(cls, record: Sequence[str]) -> Self:
        scores, seconds, items = map(b64decode, record)
        return cls(
            kll_doubles_sketch.deserialize(scores),
            kll_doubles_sketch.deserialize(seconds),
            cpc_sketch.deserialize(items),
        )

    def summary(self) -> SideSummary:
        scores = {} if self.scores.is_empty() else {q: self.scores.get_quantile(q) for q in SCORE_QUANTILES}
        return SideSummary(
            score_quantiles={str(q): round(score, PLACES) for q, score in scores.items()} or None,
            p50_ms=self._milliseconds(0.5),
            p99_ms=self._milliseconds(0.99),
            distinct_items=round(self.items.get_estimate()),
        )

    def _milliseconds(self, quantile: float) -> float | None:
        return None if self.seconds.is_empty() else round(1000 * self.seconds.get_quantile(quantile), PLACES)


@dataclass
class ShadowTally:
    """All requests that two bundles were compared on; some 40 kB at most."""

    compared: int = 0
    dropped: int = 0
    errors: int = 0
    same_first: int = 0
    overlap_sum: float = 0.0
    overlap_counts: list[int] = field(default_factory=lambda: [0] * (TENTHS + 1))
    shown: SideTally = field(default_factory=SideTally)
    shadow: SideTally = field(default_factory=SideTally)

    def add(self, shown: Listing, shadow: Listing) -> float:
        """Count a request that both answered; return the overlap. At least one item was shown."""
        found = set(shadow.item_ids)
        common = sum(item_id in found for item_id in shown.item_ids)
        overlap = common / len(shown.item_ids)
        self.compared += 1
        self.overlap_sum += overlap
        self.overlap_counts[TENTHS * common // len(shown.item_ids)] += 1
        self.same_first += [*shown.item_ids[:1]] == [*shadow.item_ids[:1]]
        self.shown.add(shown)
        self.shadow.add(shadow)
        return overlap

    def merge(self, other: Self) -> None:
        """Add the other's requests."""
        self.compared += other.compared
        self.dropped += other.dropped
        self.errors += other.errors
        self.same_first += other.same_first
        self.overlap_sum += other.overlap_sum
        self.overlap_counts = [a + b for a, b in zip(self.overlap_counts, other.overlap_counts, strict=True)]
        self.shown.merge(other.shown)
        self.shadow.merge(other.shadow)

    def record(self) -> dict[str, Any]:
        """As JSON values, of which `of_record` makes it again."""
        return {**vars(self), "shown": self.shown.record(), "shadow": self.shadow.record()}

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Self:
        sides = {side: SideTally.of_record(record[side]) for side in ("shown", "shadow")}
        return cls(**{**record, **sides})

    def summary(self, which: Compared, workers_missing: int) -> ShadowSummary:
        """What a report shows."""
        n = self.compared
        return ShadowSummary(
            bundle=which.bundle,
            shown_bundle=which.shown_bundle,
            compared=n,
            dropped=self.dropped,
            errors=self.errors,
            mean_overlap=round(self.overlap_sum / n, PLACES) if n else None,
            overlap_counts=tuple(self.overlap_counts),
            same_first=round(self.same_first / n, PLACES) if n else None,
            shown=self.shown.summary(),
            shadow=self.shadow.summary(),
            workers_missing=workers_missing,
        )
