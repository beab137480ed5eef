"""What all models' settings have in common."""

import math
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from index.recency import Recency

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Size = Annotated[int, Field(ge=1, lt=2**31)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]
Unbounded = Annotated[
    float,
    Field(gt=0, allow_inf_nan=True),
    PlainSerializer(lambda value: "inf" if math.isinf(value) else value, return_type=float | str, when_used="json"),
]
"""Above 0, infinity included; JSON, which has no infinity, and TOML hold it as \"inf\"."""


class FrozenSettings(BaseModel):
    """Base of every group of settings: immutable, and strict about names and ranges."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


Modality = Literal["multimodal", "text", "image"]
MODALITIES: tuple[Modality, ...] = get_args(Modality)
SINGLE_MODALITIES: tuple[Modality, ...] = ("text", "image")


class ModelBase(FrozenSettings):
    """Base of all models' settings."""

    takes: ClassVar[tuple[Modality, ...]] = ()
    """Modalities that the model is built on; a model that can do with any of them has a setting `modalities`."""
    needs: ClassVar[int] = 0
    """How many of them the data must have."""
    fewest_items: ClassVar[int] = 1
    """Items that the data must have, with which the model's loss is defined."""
    embeds: ClassVar[bool] = True
    """Whether the model scores by embeddings of users and items, and so can be exported and served."""


class RecencySettings(ModelBase):
    """Base of models whose users are sums over past items, in which newer ones may weigh more (docs/bundle.md)."""

    recency_tau: Unbounded = math.inf
    """tau: events after which the weight of a past item has fallen by e; infinity: all weigh alike."""
    recency_floor: Rate = 0.0
    """Weight below which none falls, however old."""

    @property
    def recency(self) -> Recency | None:
        """As the bundle has it."""
        return None if math.isinf(self.recency_tau) else Recency(tau=self.recency_tau, floor=self.recency_floor)
