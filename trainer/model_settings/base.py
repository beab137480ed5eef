"""What all models' settings have in common."""

from typing import Annotated, ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Size = Annotated[int, Field(ge=1, lt=2**31)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]


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
