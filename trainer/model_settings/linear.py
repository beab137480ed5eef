"""The settings of models that are computed at once, without gradient steps (docs/models.md)."""

from typing import Literal

from trainer.model_settings.base import ModelBase


class PopularitySettings(ModelBase):
    """Ranks items by their number of training interactions: the floor that training must beat."""

    name: Literal["popularity"] = "popularity"
