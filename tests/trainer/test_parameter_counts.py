"""Parameters of every model at the published data sets' sizes, beside the totals that the authors' logs give."""

from typing import Any

import pytest
import torch

from trainer.config import load_config
from trainer.models import Inputs, build_model

SIZES = {"baby": (19_445, 7_050), "sports": (35_598, 18_357), "office": (4_905, 2_420), "games": (24_303, 10_672)}
WIDTHS = {"image": 4_096, "text": 384, "multimodal": 768}
FROZEN_TABLES = WIDTHS["image"] + WIDTHS["text"]  # an item, where the reference counts given features as parameters
TWO_PROJECTIONS = FROZEN_TABLES * 64 + 2 * 64
UNUSED_IN_ALIGNREC = (64 * 64 + 64) + 64 + (64 * 64 + 64)  # query_common and gate_mm_prefer: created, never used

PUBLISHED = {  # by the AnchorRec authors' logs: Baby, Sports, Office, Games
    "vbpr": (3_226_944, 6_018_176, 1_069_504, 4_080_576),
    "lattice": (33_566_530, 85_979_330, 11_597_250, 50_335_810),
    "freedom": (33_566_528, 85_979_328, 11_597_248, 50_335_808),
    "damrs": (33_566_528, 85_979_328, 11_597_248, 50_335_808),
    "lgmrec": (33_584_320, 85_997_120, 11_615_040, 50_353_600),
    "smore": (33_608_198, 86_020_998, 11_638_918, 50_377_478),
    "bm3": (33_570_688, 85_983_488, 11_601_408, 50_339_968),
    "alignrec": (7_171_840, 17_613_056, 2_389_120, 10_496_256),
    "anchorrec-official": (39_371_136, 100_467_712, 13_846_016, 58_922_112),
}


def counted_there_alone(name: str, n_items: int) -> int:
    """What the reference counts and we have no use for."""
    if name == "lgmrec":
        return FROZEN_TABLES * n_items
    if name == "damrs":
        return FROZEN_TABLES * n_items + TWO_PROJECTIONS
    return {"alignrec": UNUSED_IN_ALIGNREC, "anchorrec-official": 8_384}.get(name, 0)


def n_parameters(name: str, n_users: int, n_items: int) -> int:
    """Counted on shapes alone: nothing is allocated."""
    nothing: Any = None
    with torch.device("meta"):
        features = {m: torch.empty(n_items, width) for m, width in WIDTHS.items()}
        degrees = torch.empty(n_items)
        inputs = Inputs(n_users, n_items, degrees, degrees, nothing, False, features)
        model = build_model(load_config(name).model, inputs, batch_size=2_048, seed=0)
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("place", "data"), list(enumerate(SIZES)))
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_model_has_as_many_parameters_as_the_published_logs_say(name: str, place: int, data: str) -> None:
    n_users, n_items = SIZES[data]
    ours = n_parameters(name, n_users, n_items)
    assert ours + counted_there_alone(name, n_items) == PUBLISHED[name][place]
