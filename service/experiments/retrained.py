"""Publishes the bundles of retrainings into arms of the running experiment."""

import asyncio

from service.experiments.control import ExperimentControl
from service.experiments.errors import ArmUnavailableError, ExperimentConflictError, UnknownArmError


class RetrainedArms:
    """What retraining needs of experiments, which open after it: until then its jobs wait."""

    def __init__(self) -> None:
        self.control: asyncio.Future[ExperimentControl] = asyncio.get_running_loop().create_future()

    async def find(self, arm: str) -> str:
        """The arm as `experiment/arm`, also where its name alone is given.

        UnknownArmError where the running experiment has no such arm, ArmUnavailableError where it has ended,
        ExperimentConflictError for the control.
        """
        running = (await (await asyncio.shield(self.control)).experiments()).running
        experiment, _, name = arm.rpartition("/")
        if running is None or experiment not in ("", running.name):
            runs = "none runs" if running is None else f"{running.name} runs"
            raise UnknownArmError(f"arm {arm[:160]!r}: expected one of the running experiment; {runs}")
        found = running.arm(name)
        if found is None:
            names = ", ".join(one.name for one in running.arms[1:])
            raise UnknownArmError(f"experiment {running.name} has no arm {name[:80]!r}; expected one of {names}")
        if found.ended is not None:
            raise ArmUnavailableError(f"arm {name} has ended: {found.ended.why}")
        if name == running.control.name:
            raise ExperimentConflictError(f"arm {name} is the control, which serves the published bundle")
        return f"{running.name}/{name}"

    async def publish(self, arm: str, bundle_id: str, *, by: str) -> None:
        """Give an arm that `find` named the bundle; errors as there, and of ExperimentControl.publish."""
        experiment, _, name = (await self.find(arm)).partition("/")
        await (await asyncio.shield(self.control)).publish(experiment, name, bundle_id, by=by, readmit=False)
