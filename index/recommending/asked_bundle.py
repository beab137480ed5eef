"""A bundle that is asked in Python: its lists and explanations are those that the service gives over HTTP.

from index import open_bundle

bundle = open_bundle("bundles")
for item in bundle.recommend("u0042", k=5):
    print(item.rank, item.title, item.score, item.why)
"""

from collections.abc import Sequence
from dataclasses import fields
from functools import cached_property
from typing import Any

import numpy as np

from index.bundle import Bundle
from index.cosine_scan import CosineScan
from index.errors import InputError
from index.item_index import ItemIndex
from index.ranking import unit_rows
from index.recommending.answers import Explanation, Recommendations, RecommendedItem, SimilarItem, Source
from index.recommending.attribution import count_in_common
from index.recommending.explained_items import explained_items, rounded_score
from index.recommending.popularity import most_popular, ordered_by, popularity_of
from index.recommending.profile import Profile, excluded_rows, trained_profile
from index.recommending.sentences import popular_sentence
from index.recommending.session import Session, SessionWeights, session_profile, unknown_items
from index.recommending.spaces import is_copied, unit_index, vectors_by_space

Array = np.ndarray[Any, Any]

ONLY_VIEWS = SessionWeights(liked=1.0, disliked=1.0)  # a session here has neither likes nor dislikes
NAMED_IDS = 3  # of the bundle, in a message


class AskedBundle(Bundle):
    """An open bundle with answers. It knows what training knew: events that came later are the service's."""

    @classmethod
    def of(cls, bundle: Bundle) -> "AskedBundle":
        """The same open bundle, sharing all arrays."""
        return cls(**{one.name: getattr(bundle, one.name) for one in fields(Bundle)})

    def __repr__(self) -> str:
        sizes = (
            f"{len(self.user_ids):,} users, {len(self.item_ids):,} items, {self.item_embeddings.shape[1]} dimensions"
        )
        return f"<bundle {self.bundle_id}: {sizes}; parts {', '.join(self.item_parts)}; by {', '.join(self._spaces)}>"

    def recommend(
        self,
        user_id: str | None = None,
        k: int = 10,
        *,
        items: Sequence[str] = (),
        exclude_seen: bool = True,
        explain: bool = True,
        counterfactual: bool = False,
        past_items: int = 3,
    ) -> Recommendations:
        """The k best items for a user, or for who has just looked at `items` (oldest first), or for both together.

        The most popular items where nothing is known to rank by: `source` and `note` say so. An explanation names at
        most `past_items` of the past; `counterfactual` adds each item's rank without each of them, which scores the
        whole catalogue for each. InputError on a k below 1 and on what is no id.
        """
        profile = self._profile(user_id, items)
        _check_count("k", k, 1)
        _check_count("past_items", past_items, 0)
        unknown = tuple(unknown_items(self, items))
        excluded = excluded_rows(profile, exclude_seen=exclude_seen)
        if profile is None or not profile.known:
            rows = most_popular(self._by_popularity, k, excluded)
            found = self._popular(rows, range(1, len(rows) + 1), explain=explain)
            return Recommendations(found, "popular", _why_popular(user_id, items, profile), unknown)
        rows, scores = self.index().search(profile.vector, min(k, len(self.item_ids)), excluded)
        n = int(np.count_nonzero(rows[0] >= 0))
        explanations = self._explanations(
            profile,
            rows[0, :n],
            explain=explain,
            exclude_seen=exclude_seen,
            counterfactual=counterfactual,
            most=past_items,
        )
        listed = self._listed(rows[0, :n], scores[0, :n], range(1, n + 1), explanations)
        return Recommendations(listed, _source(profile), unknown_items=unknown)

    def explain(
        self,
        user_id: str | None,
        item_id: str,
        *,
        items: Sequence[str] = (),
        counterfactual: bool = True,
        past_items: int = 3,
    ) -> RecommendedItem:
        """One item for a user or session: its score, its rank among the items that they have not had, and why.

        InputError where the bundle lacks the item.
        """
        profile, row = self._profile(user_id, items), self._row(item_id)
        _check_count("past_items", past_items, 0)
        rows = np.array([row])
        if profile is None or not profile.known:
            scores, excluded = self._popularity, excluded_rows(profile, exclude_seen=True)
            return self._popular(rows, [_rank(scores, row, excluded)], explain=True)[0]
        scores = self.item_embeddings @ profile.vector
        rank = _rank(scores, row, excluded_rows(profile, exclude_seen=True))
        explanations = self._explanations(
            profile, rows, explain=True, exclude_seen=True, counterfactual=counterfactual, most=past_items
        )
        # As the search scores: a product of one row with BLAS may differ in the last bit.
        own = np.einsum("rd,d->r", self.item_embeddings[rows], profile.vector)
        return self._listed(rows, own, [rank], explanations)[0]

    def similar(self, item_id: str, k: int = 10, by: str = "fused") -> tuple[SimilarItem, ...]:
        """The k items nearest to an item by cosine: of the whole embedding, of the ID part, or of one modality.

        InputError where the bundle lacks the item or the space, and where the space has no vector for the item.
        """
        row = self._row(item_id)
        _check_count("k", k, 1)
        if by not in self._spaces:
            raise InputError(f"by is {by!r}; expected one of this bundle's spaces: {', '.join(self._spaces)}")
        (unit,) = unit_rows(self._spaces[by][np.array([row])])
        if not unit.any():
            raise InputError(f"item {item_id!r} has no vector in the space {by!r}; others: {', '.join(self._spaces)}")
        rows, cosines = self._nearest(by, unit, k, np.array([row]))
        users = self.users_of(row)
        in_all = {
            name: rounded_score(unit_rows(vectors[rows]) @ unit_rows(vectors[np.array([row])])[0])
            for name, vectors in self._spaces.items()
        }
        return tuple(
            SimilarItem(
                place + 1,
                **self._shown(one),
                score=score,
                cosines={name: values[place] for name, values in in_all.items()},
                users_in_common=count_in_common(users, self.users_of(one)),
            )
            for place, (one, score) in enumerate(zip(rows.tolist(), rounded_score(cosines), strict=True))
        )

    def _profile(self, user_id: str | None, items: Sequence[str]) -> Profile | None:
        if user_id is not None and not isinstance(user_id, str):
            raise InputError(f"user_id is {user_id!r:.80}; expected text: a session's items are given as items=[...]")
        if isinstance(items, str) or not all(isinstance(one, str) for one in items):
            raise InputError(f"items is {items!r:.80}; expected item ids, such as items=[{self.item_ids[0]!r}]")
        row = None if user_id is None else self.user_ids.row(user_id)
        user = None if row is None else trained_profile(self, row)
        return session_profile(self, user, Session([(one, 1.0) for one in items]), ONLY_VIEWS)

    def _row(self, item_id: str) -> int:
        row = self.item_ids.row(item_id) if isinstance(item_id, str) else None
        if row is None:
            known = ", ".join(repr(self.item_ids[one]) for one in range(min(NAMED_IDS, len(self.item_ids))))
            raise InputError(
                f"this bundle has no item {item_id!r:.80}; expected one of its {len(self.item_ids):,}: {known}, ..."
            )
        return row

    def _explanations(
        self, profile: Profile, rows: Array, *, explain: bool, exclude_seen: bool, counterfactual: bool, most: int
    ) -> Sequence[Explanation | None]:
        if not explain:
            return [None] * len(rows)
        return explained_items(self, profile, rows, most=most, exclude_seen=exclude_seen, counterfactual=counterfactual)

    def _popular(self, rows: Array, ranks: Sequence[int], *, explain: bool) -> tuple[RecommendedItem, ...]:
        counts = self.popularity_count[rows].tolist()
        explanations = [Explanation(popular_sentence(count)) if explain else None for count in counts]
        return self._listed(rows, self._popularity[rows], ranks, explanations)

    def _listed(
        self, rows: Array, scores: Array, ranks: Sequence[int], explanations: Sequence[Explanation | None]
    ) -> tuple[RecommendedItem, ...]:
        columns = zip(rows.tolist(), rounded_score(scores), ranks, explanations, strict=True)
        return tuple(
            RecommendedItem(rank, **self._shown(row), score=score, explanation=explanation)
            for row, score, rank, explanation in columns
        )

    def _shown(self, row: int) -> dict[str, Any]:
        record, item_id = self.item(row), self.item_ids[row]
        title = record["title"] or item_id
        return {"item_id": item_id, "title": title, "category": record["category"], "image": record["image"]}

    def _nearest(self, by: str, unit: Array, k: int, excluded: Array) -> tuple[Array, Array]:
        search = self._searches.get(by)
        if search is None:
            vectors = self._spaces[by]
            search = self._searches[by] = unit_index(vectors)[0] if is_copied(vectors) else CosineScan(vectors)
        if isinstance(search, CosineScan):
            return search.search(unit, k, excluded)
        rows, cosines = search.search(unit, min(k, len(self.item_ids)), excluded)
        n = int(np.count_nonzero(rows[0] >= 0))
        return rows[0, :n], cosines[0, :n]

    @cached_property
    def _spaces(self) -> dict[str, Any]:
        return vectors_by_space(self)

    @cached_property
    def _searches(self) -> dict[str, ItemIndex | CosineScan]:
        return {}

    @cached_property
    def _popularity(self) -> Array:
        return popularity_of(self)

    @cached_property
    def _by_popularity(self) -> Array:
        return ordered_by(self._popularity)


def _source(profile: Profile) -> Source:
    return "session" if profile.source == "session" else "user"


def _why_popular(user_id: str | None, items: Sequence[str], profile: Profile | None) -> str:
    if profile is not None:
        return "too little is known of the user to rank by, so these are the most popular items"
    if user_id is None and not items:
        return "neither a user nor items were given, so these are the most popular items"
    who = f"user {user_id!r}" if user_id is not None else "the items given"
    return f"this bundle does not know {who}, so these are the most popular items"


def _rank(scores: Array, row: int, excluded: Array) -> int:
    """The row's place by score among the rows that are not excluded, ties by lower row."""
    ahead = (scores > scores[row]) | ((scores == scores[row]) & (np.arange(len(scores)) < row))
    ahead[excluded] = False
    return int(np.count_nonzero(ahead)) + 1


def _check_count(name: str, value: int, least: int) -> None:
    if not isinstance(value, int) or value < least:
        raise InputError(f"{name} is {value!r:.80}; expected a whole number from {least} on")
