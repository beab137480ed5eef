"""Models that are computed from the training data at once, instead of by gradient steps."""

from abc import abstractmethod
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from torch import Tensor

from index.errors import InputError
from trainer.models.base import RecommenderModel

T = TypeVar("T")
Tensors = dict[str, Tensor]
Shared = dict[Hashable, Any]
"""Results that fits on the same data share, by what they depend on."""


@dataclass
class Work:
    """What a model may keep while it is computed: results for other fits on the same data, and steps to resume from."""

    shared: Shared = field(default_factory=dict)
    load: Callable[[], Tensors] = dict
    """The steps that were saved before the process was interrupted; empty where there are none."""
    save: Callable[[Tensors], None] = lambda steps: None
    """Save the steps done so far, in place of those saved before."""
    _steps: Tensors | None = field(default=None, init=False)

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """The shared result of this key, made where it is missing. The key names everything that it depends on."""
        if key not in self.shared:
            self.shared[key] = make()
        return cast(T, self.shared[key])

    def latest(self, key: Hashable, version: Hashable, make: Callable[[], T]) -> T:
        """As `once`, of something large that settings change: only the version that was asked for last is kept."""
        slot: list[Any] = self.once(("latest", key), lambda: [None, None])
        if slot[0] != version:
            slot[:] = None, None  # before the next one is made: memory holds one of them
            slot[:] = version, make()
        return cast(T, slot[1])

    def saved_step(self, name: str) -> Tensors:
        """The tensors of this step by name, as they were saved last; empty where there are none."""
        if self._steps is None:
            self._steps = self.load()
        return {key.removeprefix(f"{name}/"): t for key, t in self._steps.items() if key.startswith(f"{name}/")}

    def save_step(self, name: str, tensors: Tensors) -> None:
        """Save the tensors of this step in place of its earlier ones, beside those of other steps."""
        self.saved_step(name)
        others = {key: tensor for key, tensor in (self._steps or {}).items() if not key.startswith(f"{name}/")}
        self._steps = others | {f"{name}/{key}": tensor for key, tensor in tensors.items()}
        self.save(self._steps)


class FittedModel(RecommenderModel):
    """A model whose state is a solution: a few tensors by name, computed by `solve` and saved with the run."""

    def __init__(self) -> None:
        super().__init__()
        self.solution: Tensors = {}
        self.start: Tensor | None = None
        """(n_items, any) item embeddings of an earlier training that the computation may begin from."""

    @abstractmethod
    def solve(self, work: Work) -> Tensors:
        """Compute the solution from the training data; called once, without gradient."""

    def item_side(self, solution: Tensors) -> Tensor | None:
        """What `start` takes of an earlier solution, (n_items, any); None where a model begins from nothing."""
        return None

    def solved(self, name: str) -> Tensor:
        """A tensor of the solution; InputError where a damaged checkpoint lacks it."""
        if name not in self.solution:
            raise InputError(f"the checkpoint has no {name}; expected the state of a {type(self).__name__}")
        return self.solution[name]

    def get_extra_state(self) -> Tensors:
        """The solution, which torch saves with the model's state."""
        return self.solution

    def set_extra_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over a saved solution; TypeError where it holds anything but tensors."""
        if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
            raise TypeError("the state is no solution of tensors by name")
        self.solution = dict(state)
