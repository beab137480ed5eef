"""Explanations over float16 and int8 tables sum to their score as closely as over float32."""

from pathlib import Path

import pytest
from bundles import write_small_bundle
from reference import summed
from servers import serving

from index.recency import Recency
from index.registry import Registry

TO_THE_SCORE = 1e-4


@pytest.mark.parametrize("precision", ["float16", "int8"])
@pytest.mark.parametrize("recency", [None, Recency(tau=3, floor=0.1)], ids=["own terms", "recency"])
def test_parts_and_past_items_of_rounded_tables_sum_to_the_score(
    tmp_path: Path, precision: str, recency: Recency | None
) -> None:
    bundle = write_small_bundle(tmp_path, precision=precision, recency=recency, has_own=recency is None)
    Registry(tmp_path).publish(bundle.name)
    with serving(registry=tmp_path) as client:
        trained = client.get("/recommend/user-3?k=12&explain=true").json()
        session = client.post("/recommend/session?explain=true", json={"items": ["item-1", "item-7"]}).json()
        for item in [*trained["items"], *session.get("items", [])]:
            for total in summed(item):
                assert total == pytest.approx(item["score"], abs=TO_THE_SCORE, rel=1e-5)
        assert len(trained["items"]) == 12
