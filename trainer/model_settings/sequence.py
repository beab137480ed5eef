"""The settings of models of the order in which users had their items (docs/models.md)."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from trainer.model_settings.base import ModelBase, Rate, Size, Weight


class SASRecSettings(ModelBase):
    """SASRec: a small causal transformer over a user's latest items (docs/models.md#sasrec)."""

    name: Literal["sasrec"] = "sasrec"
    embedding_size: Size = 64
    n_blocks: Size = 2
    n_heads: Size = 1
    """Of each block; they share the embedding size among them."""
    max_length: Size = 50
    """Items of a history that are looked at together; a longer one is trained in windows of so many."""
    dropout: Rate = 0.2
    """Of the embedded items and of what each sublayer adds."""
    n_negatives: Annotated[int, Field(ge=0)] = 0
    """Items drawn a batch that the softmax is estimated with; 0: all of the catalogue, exactly."""

    @model_validator(mode="after")
    def _heads_divide(self) -> "SASRecSettings":
        if self.embedding_size % self.n_heads:
            raise ValueError(f"n_heads is {self.n_heads}, expected a divisor of embedding_size {self.embedding_size}")
        return self


class VSKNNSettings(ModelBase):
    """V-SKNN: items of the users whose histories share the latest items (docs/models.md#v-sknn)."""

    embeds = False

    name: Literal["vsknn"] = "vsknn"
    k: Size = 200
    """Neighbours whose items are scored."""
    sample_size: Size = 2000
    """Users they are chosen among: of those with a common item, the latest active ones."""
    max_length: Size = 50
    """Latest items of a user that are looked at."""
    decay: Literal["none", "linear", "quadratic", "logarithmic", "reciprocal"] = "linear"
    """How the weight of an item falls with the number of newer ones."""
    idf: bool = False
    """Weigh a common item by log(users / users of the item)."""
    length_penalty: Weight = 0.5
    """Power of a neighbour's number of items that its similarity is divided by: 0 in the paper, 1/2 in a cosine."""
