"""Lists of items are the JSON that their models write."""

import numpy as np
import orjson
import pytest
from pydantic import TypeAdapter

from index.bundle import Bundle
from service.http.responses import PopularItem, RecommendedItem
from service.ranking.item_metadata import ItemMetadata

RECOMMENDED = TypeAdapter(list[RecommendedItem])


def listed(items: ItemMetadata, *args: object, **more: object) -> bytes:
    return orjson.dumps(items.ranked(*args, **more))  # type: ignore[arg-type]


@pytest.mark.parametrize("cache_size", [1, 1_000])
def test_a_list_is_the_json_that_its_model_writes(bundle: Bundle, cache_size: int) -> None:
    items, rows = ItemMetadata(bundle, cache_size), [3, 1, 3, 2]
    scores = np.array([2.5, 0.1, -1e-9, 1e20], np.float32)
    told = listed(items, rows, scores, 11, more=[b"", b',"pinned":true', b"", b',"explanation":{"sentence":"Yes."}'])
    models = RECOMMENDED.validate_json(told)
    dumped = RECOMMENDED.dump_python(models, exclude_unset=True)
    for one, score in zip(dumped, scores, strict=True):
        one["score"] = score  # as float32, which orjson writes in fewer digits
    assert told == orjson.dumps(dumped, option=orjson.OPT_SERIALIZE_NUMPY)
    assert [one.rank for one in models] == [11, 12, 13, 14]
    assert [(one.item_id, one.title) for one in models] == [
        (bundle.item_ids[row], items.full_record(row)["title"]) for row in rows
    ]


def test_counts_as_scores_stay_whole_numbers(bundle: Bundle) -> None:
    told = listed(ItemMetadata(bundle, 10), [5], np.array([7]), more=[b',"users":3'])
    assert b'"rank":1,"score":7,"users":3}' in told
    assert TypeAdapter(list[PopularItem]).validate_json(told)[0].users == 3


def test_a_list_of_nothing_is_empty(bundle: Bundle) -> None:
    assert listed(ItemMetadata(bundle, 10), [], np.empty(0, np.float32)) == b"[]"


def test_an_item_without_a_title_is_named_by_its_id(bundle: Bundle) -> None:
    items = ItemMetadata(bundle, 10)
    for row in range(len(bundle.item_ids)):
        item_id, title = bundle.item_ids[row], items.full_record(row)["title"]
        shown = items.shown(row)
        assert shown.name == (title or item_id)
        assert orjson.loads(shown.in_past + b"}") == {"item_id": item_id, "title": shown.name}
        assert orjson.loads(shown.in_list + b"}")["title"] == title
