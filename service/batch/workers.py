"""Processes that make lists beside each other, each with the bundle mapped into its memory."""

import asyncio
import multiprocessing
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple, Protocol

import faiss
from threadpoolctl import threadpool_limits

from index.errors import InputError
from service.batch.lists import ListMaker, ListOptions, run_constraints
from service.batch.opening import opened_lists
from service.batch.parts import write_part, writing
from service.bundles.open_published import open_verified
from service.settings import Settings

STOP_S = 5.0


@dataclass(frozen=True)
class RunPlan:
    """What all processes of a run do alike."""

    settings: Settings
    bundle_id: str
    options: ListOptions
    now: float  # in unix seconds, for filters


class Part(NamedTuple):
    """The users of one part, and those of them whom the event log names."""

    path: Path
    out: Path
    user_ids: Sequence[str]
    with_events: frozenset[str]


class Maker(Protocol):
    """Makes one part after another."""

    async def make(self, part: Part) -> None:
        """Make the lists and write them; InputError where that fails."""


@dataclass(frozen=True)
class InProcess:
    """Makes parts in this process."""

    lists: ListMaker

    async def make(self, part: Part) -> None:
        made = await self.lists.make(part.user_ids, part.with_events)
        with writing(part.out):
            write_part(part.path, made, self.lists.item_ids)


@dataclass(frozen=True)
class InChild:
    """Makes parts in a child process, which ends when this one does."""

    process: BaseProcess
    connection: "Connection[Part, str | None]"

    async def make(self, part: Part) -> None:
        try:
            problem = await asyncio.to_thread(self._ask, part)
        except (EOFError, OSError):
            await asyncio.to_thread(self.process.join, STOP_S)
            raise InputError(
                f"a process that made lists ended with {self.process.exitcode}; the same command goes on"
            ) from None
        if problem is not None:
            raise InputError(problem)

    def _ask(self, part: Part) -> str | None:
        self.connection.send(part)
        return self.connection.recv()


@asynccontextmanager
async def children(plan: RunPlan, n: int) -> AsyncIterator[list[Maker]]:
    """So many child processes that make parts; they are ended with the context."""
    context = multiprocessing.get_context("spawn")
    started: list[InChild] = []
    try:
        for _ in range(n):
            here, there = context.Pipe()
            process = context.Process(target=_run_child, args=(there, plan), daemon=True)
            process.start()
            there.close()  # else this process would not see the end of the child's
            started.append(InChild(process, here))
        yield [*started]
    finally:
        for child in started:
            child.process.terminate()
        for child in started:
            child.process.join(STOP_S)
            child.connection.close()


def _run_child(connection: "Connection[str | None, Part]", plan: RunPlan) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the parent, and that ends this
    try:
        asyncio.run(_answer(connection, plan))
    except InputError as error:
        connection.send(str(error))


async def _answer(connection: "Connection[str | None, Part]", plan: RunPlan) -> None:
    one_thread()
    registry = plan.settings.open_registry()
    opened = open_verified(registry, plan.bundle_id, plan.settings, verify=False)
    async with opened_lists(plan.settings, opened) as source:
        # Not the parent's: rows of stored items may be others here.
        constraints = await run_constraints(source.loaded, source.rules, plan.options.filters, plan.now)
        maker = InProcess(ListMaker(source.loaded, constraints, plan.options, pool=plan.settings.diversity_pool))
        with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the parent has ended
            while True:
                part = connection.recv()  # nothing else waits for this loop
                connection.send(await _problem(maker, part))


async def _problem(maker: Maker, part: Part) -> str | None:
    """Make the part; why it could not be made, or None."""
    try:
        await maker.make(part)
    except (InputError, OSError) as error:
        return str(error)
    return None


def one_thread() -> None:
    """Compute in one thread: there are as many processes as cores."""
    faiss.omp_set_num_threads(1)
    threadpool_limits(1)
