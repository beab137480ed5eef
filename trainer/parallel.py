"""Data-parallel training under torchrun: every rank draws the whole batch, does its share of it, and sums gradients.

Ranks hold the same parameters throughout, so only losses and gradients are divided. A model is handed a `Share` and
returns the terms that fall to it; the sum over the ranks is the loss of the batch.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, TypeVar, cast

import torch
import torch.distributed as dist

# Its functions keep the group that exists when it is first imported as default arguments, and Adam imports it. Imported
# here, before there is a group, it keeps none; else destroying the group would leave gloo's threads running, and one
# that frees a tensor while Python shuts down aborts the process.
import torch.distributed.nn.functional
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from index.errors import InputError
from trainer.device import choose_device

T = TypeVar("T")

LONGEST_WAIT = timedelta(hours=1)
"""How long ranks wait for one another, for the first one's evaluation say. A rank that dies ends the others at once."""


@dataclass(frozen=True)
class Share:
    """What one of several equal processes does of a batch; by default all of it."""

    rank: int = 0
    n_ranks: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process also evaluates, writes the run folder and shows progress."""
        return self.rank == 0

    def rows(self, n: int) -> slice:
        """Which of n examples are this rank's."""
        return slice(n * self.rank // self.n_ranks, n * (self.rank + 1) // self.n_ranks)

    def fraction(self, n: int) -> float:
        """The weight by which a mean over this rank's examples enters the mean over all n."""
        return len(range(n)[self.rows(n)]) / n

    def take(self, terms: Mapping[str, Callable[[], Tensor]]) -> dict[str, Tensor]:
        """Compute, of the terms that cannot be split over examples, those that fall to this rank, in turn."""
        mine = list(terms.items())[self.rank :: self.n_ranks]
        return {name: term() for name, term in mine}

    def of_batch(self, n: int) -> "Share | None":
        """This share of a batch of n; a batch of fewer examples than ranks belongs to the first rank alone."""
        if n >= self.n_ranks:
            return self
        return WHOLE if self.is_first else None


WHOLE = Share()


@contextmanager
def process_group(device: Literal["auto", "cpu", "cuda"]) -> Iterator[Share]:
    """Join the process group that torchrun started; yields this process's share, without torchrun the whole.

    Ranks communicate by gloo on CPUs and nccl on GPUs, where each takes the GPU of its local rank.

    Raises:
        InputError: as raised inside, with the rank's number before it on all but the first.
    """
    if not dist.is_torchelastic_launched():
        yield WHOLE
        return
    on_gpu = choose_device(device).type == "cuda"
    if on_gpu:
        torch.cuda.set_device(dist.get_node_local_rank())
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=LONGEST_WAIT)
    share = Share(dist.get_rank(), dist.get_world_size())
    try:
        yield share
    except InputError as error:
        raise error if share.is_first else InputError(f"rank {share.rank}: {error}") from None
    finally:
        dist.destroy_process_group()


def on_first_rank(share: Share, action: Callable[[], T]) -> T:
    """Run `action` on the first rank alone; every rank gets its result, or the InputError that it raises."""
    if share.n_ranks == 1:
        return action()
    outcome: list[object] = [_outcome(action) if share.is_first else None]
    dist.broadcast_object_list(outcome, src=0)
    if isinstance(outcome[0], InputError):
        raise outcome[0]
    return cast(T, outcome[0])


def _outcome(action: Callable[[], T]) -> T | InputError:
    try:
        return action()
    except InputError as error:
        return error


def sum_gradients(share: Share, parameters: Iterable[Tensor]) -> None:
    """Replace every gradient by its sum over the ranks; a rank whose terms do not reach a parameter adds zeros."""
    if share.n_ranks == 1:
        return
    gradients = []
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        gradients.append(parameter.grad)
    flat = parameters_to_vector(gradients)
    dist.all_reduce(flat)
    vector_to_parameters(flat, gradients)


def sum_terms(share: Share, terms: dict[str, float]) -> dict[str, float]:
    """Sum terms of one name over the ranks; a rank need not have all of them."""
    if share.n_ranks == 1:
        return terms
    everyone = gathered(share, terms)
    names = dict.fromkeys(name for each in everyone for name in each)
    return {name: sum(each.get(name, 0.0) for each in everyone) for name in names}


def sum_over_ranks(share: Share, mine: Tensor) -> Tensor:
    """The sum of all ranks' tensors of one shape, which takes the place of this one's."""
    if share.n_ranks > 1:
        dist.all_reduce(mine)
    return mine


def from_first_rank(share: Share, mine: Tensor) -> Tensor:
    """The first rank's tensor, in place of this one's of the same shape."""
    if share.n_ranks > 1:
        mine = mine.contiguous()
        dist.broadcast(mine, src=0)
    return mine


def all_agree(share: Share, mine: bool) -> bool:
    """Whether it is true on every rank."""
    return int(sum_over_ranks(share, torch.tensor(int(mine)))) == share.n_ranks


def gathered(share: Share, mine: T) -> list[T]:
    """The objects of all ranks, in the order of the ranks."""
    if share.n_ranks == 1:
        return [mine]
    everyone: list[T | None] = [None] * share.n_ranks
    dist.all_gather_object(everyone, mine)
    return cast(list[T], everyone)
