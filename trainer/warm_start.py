"""Starts a training from an earlier run's parameters, although users and items have other rows now."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from index.errors import InputError
from index.reading import reason
from trainer.config import RunConfig
from trainer.data import Dataset
from trainer.models import FittedModel, RecommenderModel
from trainer.run_folder import RunFolder

OF_USERS, OF_ITEMS = "user_embedding", "item_embedding"
FEATURES = "features"  # one row an item, where training moves them; one table, or one a modality


@dataclass(frozen=True)
class WarmStart:
    """The best state of a finished run, and the row in it of each new user and item."""

    state: dict[str, Any]
    user_rows: torch.Tensor  # (n_users,) row of the earlier run, or -1
    item_rows: torch.Tensor  # (n_items,)

    @classmethod
    def of(cls, earlier: RunFolder, config: RunConfig, dataset: Dataset) -> "WarmStart":
        """InputError: the run is not finished, of another model's settings, or its data are missing."""
        if earlier.result() is None:
            raise InputError(f"{earlier.path} is not finished: a warm start needs its best epoch")
        if earlier.config().model != config.model:
            raise InputError(f"{earlier.path} holds a model of other settings; a warm start needs the same")
        before = earlier.dataset()
        state = earlier.best_state()
        return cls(state, _places(dataset.user_ids, before.user_ids), _places(dataset.item_ids, before.item_ids))

    def __call__(self, model: RecommenderModel) -> None:
        """Copy the earlier run's parameters into the model; rows of new users and items keep their initial values.

        InputError where they do not fit, as when features have another width now.
        """
        if isinstance(model, FittedModel):
            model.start = self._item_side(model)
            return
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                try:
                    self._copy(name, parameter)
                except (KeyError, IndexError, TypeError, AttributeError, RuntimeError) as error:
                    raise InputError(f"the warm start has no {name} that fits: {reason(error)}") from error

    def _item_side(self, model: FittedModel) -> torch.Tensor | None:
        """The earlier solution's item side in the new rows, zeros for new items."""
        try:
            before = model.item_side(self.state["_extra_state"])
            if before is None:
                return None
            rows = before[self.item_rows.clamp_min(0)]
        except (KeyError, IndexError, TypeError, AttributeError, RuntimeError) as error:
            raise InputError(f"the warm start has no items that fit: {reason(error)}") from error
        rows[self.item_rows < 0] = 0
        return rows

    def _copy(self, name: str, parameter: torch.Tensor) -> None:
        rows = self._rows_of(name)
        if rows is None:
            parameter.copy_(self.state[name])
        else:
            there = rows >= 0
            parameter[there.to(parameter.device)] = self.state[name][rows[there]].to(parameter.device)

    def _rows_of(self, name: str) -> torch.Tensor | None:
        if name == OF_USERS:
            return self.user_rows
        return self.item_rows if name == OF_ITEMS or name.partition(".")[0] == FEATURES else None


def _places(ids: list[str], before: list[str]) -> torch.Tensor:
    rows = {name: row for row, name in enumerate(before)}
    return torch.from_numpy(np.array([rows.get(name, -1) for name in ids], dtype=np.int64))
