"""Changes experiments: checks the bundles, writes the registry, and lets every process take it up."""

from collections.abc import Callable
from functools import partial
from typing import Literal

from index.experiments import DOCUMENT, Change, Experiment, Experiments, GivenExperiment
from index.records import PointerMove
from service.bundles.publishing import Publishing, PublishOutcome
from service.experiments.arm_bundles import ArmBundles
from service.experiments.arms import Arms
from service.experiments.errors import UnknownArmError, UnknownExperimentError
from service.experiments.transitions import (
    declared,
    rolled_back,
    taken_out,
    taken_up,
    with_arm_ended,
    with_bundle,
    with_end,
)
from service.redis.pubsub import PubSub
from service.workers.siblings import Siblings

EXPERIMENTS_CHANGED = "experiments"  # the kind of message that makes replicas and workers poll
WORKERS_S = 60.0  # a change waits so long until the other workers have taken it up

TakenOut = Literal["rolled_back", "ended", "done_by_another"]
MoveBy = Callable[[str, str], PointerMove]  # by whom and why, now


class ExperimentControl:
    """The operations of experiments. On return they are in effect in all workers of this machine.

    Errors are those of service/experiments/transitions.py; RegistryError where it cannot be read or written.
    """

    def __init__(
        self,
        arms: Arms,
        bundles: ArmBundles,
        publishing: Publishing,
        *,
        move: MoveBy,
        pubsub: PubSub | None,
        siblings: Siblings | None,
    ) -> None:
        self.arms = arms
        self.bundles = bundles
        self._publishing = publishing
        self._registry = publishing.registry
        self._move = move
        self._pubsub, self._siblings = pubsub, siblings
        if pubsub is not None:
            pubsub.handlers[EXPERIMENTS_CHANGED] = lambda _: bundles.poll_now()
        if siblings is not None:
            siblings.handlers[EXPERIMENTS_CHANGED] = self._follow_worker

    async def experiments(self) -> Experiments:
        """All experiments, as the registry has them now."""
        return await self._publishing.with_registry(self._registry.experiments)

    async def find(self, name: str) -> Experiment:
        """An experiment, running or ended; UnknownExperimentError where there is none of this name."""
        found = (await self.experiments()).find(name)
        if found is None:
            raise UnknownExperimentError(f"no experiment {name[:80]!r}; GET /experiments lists them")
        return found

    async def declare(self, name: str, given: GivenExperiment, *, by: str, applied: str = "") -> Experiment:
        """Start an experiment or change the running one; its bundles are checked and loaded first.

        UnknownBundleError, GateRefusedError, GateFailedError, SwapFailedError where one of them must not or cannot
        serve. applied: the digest of the file that declares it, which is stored; nothing changes if it is the newest.
        """
        change = partial(declared, name=name, given=given, move=self._move(by, ""))
        change(await self.experiments())  # refuses before anything is loaded
        named = {arm.bundle for arm in given.arms if arm.bundle} | ({given.shadow.bundle} if given.shadow else set())
        async with self.bundles.loaded(named):
            await self._apply(partial(taken_up, digest=applied, change=change) if applied else change)
        return await self.find(name)

    async def publish(self, name: str, arm: str, bundle_id: str, *, by: str, readmit: bool = True) -> Experiment:
        """Give an arm another bundle, with `readmit` also one that was withdrawn. Its errors as in `declare`."""
        change = partial(with_bundle, name=name, arm=arm, bundle=bundle_id, at=self._move(by, "").at)
        change(await self.experiments())
        async with self.bundles.loaded({bundle_id}, withdrawn=readmit):
            if readmit:
                await self._publishing.with_registry(self._registry.readmit, bundle_id)
            await self._apply(change)
        return await self.find(name)

    async def roll_back(self, name: str, arm: str, *, by: str, why: str, leaving: str | None = None) -> Experiment:
        """Give an arm its bundle before, or end it where it had none; with `leaving` only while it has that bundle."""
        await self._apply(partial(rolled_back, name=name, arm=arm, move=self._move(by, why), leaving=leaving))
        return await self.find(name)

    async def end_arm(self, name: str, arm: str, *, by: str, why: str) -> Experiment:
        """End an arm: its users get the control."""
        await self._apply(partial(with_arm_ended, name=name, arm=arm, move=self._move(by, why)))
        return await self.find(name)

    async def take_out(self, name: str, arm: str, bundle_id: str, *, by: str, why: str, back: bool) -> TakenOut:
        """End an arm whose bundle is bad, while it has that bundle.

        With `back` it is rolled back, where it had another bundle, and the bad one is withdrawn: no arm gets it until
        it is published again.
        """
        move = self._move(by, why)
        outcome: TakenOut = "done_by_another"

        def change(before: Experiments) -> Experiments:
            nonlocal outcome
            after = taken_out(before, name, arm, bundle_id, move, back=back)
            outcome = "done_by_another"
            if after.running is not None and after != before:
                state = after.running.arm(arm)
                outcome = "rolled_back" if state is not None and state.ended is None else "ended"
            return after

        await self._publishing.with_registry(self._registry.change_experiments, change)
        if outcome == "rolled_back":
            await self._publishing.with_registry(self._registry.withdraw_unpublished, bundle_id, move)
        await self._announce()
        return outcome

    async def end(self, name: str, *, by: str, winner: str | None = None) -> tuple[Experiment, PublishOutcome | None]:
        """End the experiment; with a winner, publish that arm's bundle to everybody first.

        Errors as those of Publishing.publish; the experiment then goes on.
        """
        experiment, outcome = await self.find(name), None
        if winner is not None and experiment.ended is None:
            arm = experiment.arm(winner)
            if arm is None:
                names = ", ".join(one.name for one in experiment.arms)
                raise UnknownArmError(f"experiment {name} has no arm {winner[:80]!r}; expected one of {names}")
            if arm.bundle is not None:
                outcome = await self._publishing.publish(arm.bundle, by=by)
        await self._apply(partial(with_end, name=name, move=self._move(by, ""), winner=winner))
        return await self.find(name), outcome

    async def end_running(self, *, by: str, applied: str) -> None:
        """End whichever experiment runs, as the file with this digest declares none; it is stored as in `declare`."""
        move = self._move(by, "the file declares none")

        def change(before: Experiments) -> Experiments:
            return before if before.running is None else with_end(before, before.running.name, move)

        await self._apply(partial(taken_up, digest=applied, change=change))

    async def _apply(self, change: Change) -> None:
        await self._publishing.with_registry(self._registry.change_experiments, change)
        await self._announce()

    async def _announce(self) -> None:
        """Let every process take up what was changed; on return all workers of this machine have."""
        await self.bundles.poll()
        if self._pubsub is not None:
            self._pubsub.send(EXPERIMENTS_CHANGED, [DOCUMENT])  # without an id nothing would be sent
        if self._siblings is not None:
            await self._siblings.ask(EXPERIMENTS_CHANGED, within_s=WORKERS_S)

    async def _follow_worker(self, _: list[str]) -> bytes:
        """Called by a worker that has changed the experiments."""
        await self.bundles.poll()
        return b""
