"""A bundle that an earlier version wrote opens and answers; it lies beside this file as it was written."""

from pathlib import Path

from index.bundle import open_bundle
from index.gate_report import TOLERANCE
from index.invariants import part_sum_error
from index.manifest import FORMAT

(WRITTEN,) = Path(__file__).with_name(f"bundle_of_format_{FORMAT}").iterdir()


def test_the_first_bundle_of_this_format_opens_whole_and_answers_as_on_its_first_day():
    bundle = open_bundle(WRITTEN)  # every file's sum is checked
    assert part_sum_error(bundle.item_embeddings, bundle.item_parts) <= TOLERANCE
    assert bundle.seen(2).tolist() == [6, 5, 0, 2, 7, 3]
    rows, scores = bundle.index().search(bundle.user_embeddings[2], 3, bundle.seen(2))
    assert rows.tolist() == [[4, 1, -1]]
    assert scores[0, :2].tolist() == [9.205496788024902, -3.0707683563232422]
    assert bundle.item_ids[4] == "item-4"
