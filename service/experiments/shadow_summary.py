"""The summary that a report has of a shadow."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from index.frozen_model import FrozenModel


class SideSummary(FrozenModel):
    """The lists of one of the two bundles."""

    score_quantiles: Annotated[
        Mapping[str, float] | None,
        Field(
            description="of the items' scores, within 1%, by quantile; lists by popularity are left out. "
            "Scores of different models have different scales: compare the shapes, not the values"
        ),
    ]
    p50_ms: Annotated[float | None, Field(description="to compute a list, for the same requests on both sides")]
    p99_ms: float | None
    distinct_items: Annotated[int, Field(description="in all lists; estimated within 1% up to 200,000")]


class ShadowSummary(FrozenModel):
    """How the lists of a bundle that is not shown compare with those that were shown instead."""

    bundle: Annotated[str, Field(description="of the shadow")]
    shown_bundle: str
    compared: Annotated[int, Field(description="requests that both answered")]
    dropped: Annotated[
        int, Field(description="requests that the shadow should have answered and did not, as the service was busy")
    ]
    errors: Annotated[int, Field(description="requests that the shadow refused or failed")]
    mean_overlap: Annotated[float | None, Field(description="share of the shown items that the shadow lists too")]
    overlap_counts: Annotated[
        tuple[int, ...],
        Field(description="requests by that share: in [0, 0.1), [0.1, 0.2) ... [0.9, 1), and exactly 1"),
    ]
    same_first: Annotated[float | None, Field(description="share of the requests for which both list the same first")]
    shown: SideSummary
    shadow: SideSummary
    workers_missing: Annotated[
        int, Field(description="workers of this machine whose requests are not in these numbers, as they did not reply")
    ] = 0
