"""Similar items of a large bundle, whose vectors are not copied, are those of a small one."""

import asyncio

import numpy as np
import pytest

from index.bundle import Bundle
from index.recommending import spaces
from service.ranking.cosine_search import CosineSearch
from service.ranking.search import InlineSearch
from service.ranking.similar import SimilarItems


def neighbours(bundle: Bundle, kind: type) -> list[tuple[list[int], np.ndarray]]:
    """The neighbours of some items in each space: plain, without some, within some, and with some hidden."""

    async def ask() -> list[tuple[list[int], np.ndarray]]:
        found = []
        items = SimilarItems(bundle)
        for hidden in (np.array([1, 2, 5]), np.array([], np.int64)):
            for by in items.spaces:
                assert isinstance((await items.space(by)).search, kind)
                items.hide(hidden)
                for given in ({}, {"without": np.array([3, 4])}, {"within": np.arange(2, 30)}):
                    nearest = await items.nearest(7, 12, by, **given)  # type: ignore[arg-type]
                    assert nearest is not None
                    assert not set(nearest[0].tolist()) & {7, *hidden.tolist()}
                    found.append((nearest[0].tolist(), nearest[1]))
        return found

    return asyncio.run(ask())


def test_a_space_that_is_not_copied_gives_the_same_neighbours(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    copied = neighbours(bundle, InlineSearch)
    monkeypatch.setattr(spaces, "MOST_COPIED", 0)
    scanned = neighbours(bundle, CosineSearch)
    assert [rows for rows, _ in scanned] == [rows for rows, _ in copied]
    for (_, cosines), (_, expected) in zip(scanned, copied, strict=True):
        np.testing.assert_allclose(cosines, expected, atol=1e-6)
