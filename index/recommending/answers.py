"""What a bundle answers in Python: ranked items with explanations, and similar items."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, overload

Source = Literal["user", "session", "popular"]

FOR = {"user": "for a user", "session": "for a session", "popular": "by popularity"}  # as a list says it


@dataclass(frozen=True)
class PastItem:
    """An item of the user's past, and what it adds to a score."""

    item_id: str
    title: str
    contribution: float
    weight: float = 1.0  # in the user's vector
    rank_without: int | None = None  # of the ranked item, had the user not had this one; None: not asked, or no vector


@dataclass(frozen=True)
class Explanation:
    """Why an item has its score: `parts` sum to the score, and so do past items, other past items and the own term.

    An item that is shown for its popularity has a sentence alone.
    """

    sentence: str
    parts: Mapping[str, float] = field(default_factory=dict)
    past_items: tuple[PastItem, ...] = ()  # those that add most, largest first
    other_past_items: float = 0.0
    user_own: float = 0.0


@dataclass(frozen=True, repr=False)
class RecommendedItem:
    """An item of a list."""

    rank: int
    item_id: str
    title: str  # the id where the item has none
    category: str
    image: str | None
    score: float
    explanation: Explanation | None = None

    @property
    def why(self) -> str:
        """The explanation's sentence."""
        return "" if self.explanation is None else self.explanation.sentence

    def __repr__(self) -> str:
        shown = f"rank={self.rank}, item_id={self.item_id!r}, title={self.title!r}, score={self.score:.4g}"
        return f"RecommendedItem({shown}" + (f", why={self.why!r})" if self.why else ")")


@dataclass(frozen=True, repr=False)
class Recommendations(Sequence[RecommendedItem]):
    """A list of items, best first, and for whom it is."""

    items: tuple[RecommendedItem, ...]
    source: Source  # a trained user's vector, one folded in from a session, or popularity
    note: str = ""  # why these are the popular items
    unknown_items: tuple[str, ...] = ()  # items of the session that the bundle does not have

    @overload
    def __getitem__(self, place: int) -> RecommendedItem: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[RecommendedItem, ...]: ...
    def __getitem__(self, place: int | slice) -> RecommendedItem | tuple[RecommendedItem, ...]:
        return self.items[place]

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[RecommendedItem]:
        return iter(self.items)

    def __repr__(self) -> str:
        lines = [f"{len(self)} items {FOR[self.source]}" + (f": {self.note}" if self.note else "")]
        for item in self.items:
            lines.append(f"{item.rank:>3}. {item.title} ({item.item_id}) {item.score:.4g}  {item.why}".rstrip())
        return "\n".join(lines)


@dataclass(frozen=True, repr=False)
class SimilarItem:
    """A neighbour of an item in one space."""

    rank: int
    item_id: str
    title: str
    category: str
    image: str | None
    score: float  # the cosine in the space
    cosines: Mapping[str, float] = field(default_factory=dict)  # in every space
    users_in_common: int = 0  # who had both items in training

    def __repr__(self) -> str:
        shown = f"rank={self.rank}, item_id={self.item_id!r}, title={self.title!r}, score={self.score:.4g}"
        return f"SimilarItem({shown}, users_in_common={self.users_in_common})"
