"""Checks again and again whether users fall into the arms by weight, for a gauge that an alert reads."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog

from service.errors import ServiceError
from service.events.arm_totals import ArmTotals
from service.experiments.arms import Arms
from service.experiments.report import labels, ratio_of
from service.telemetry.metrics import ExperimentMetrics

CHECK_S = 120.0

ReadTotals = Callable[[Sequence[str]], Awaitable[Mapping[str, ArmTotals]]]

log = structlog.get_logger()


class RatioWatch:
    """Shows the p-value of the sample-ratio check of the running experiment."""

    def __init__(self, arms: Arms, read_totals: ReadTotals, metrics: ExperimentMetrics) -> None:
        self._arms = arms
        self._read_totals = read_totals
        self._gauge = metrics.sample_ratio_p

    async def watch(self) -> None:
        """Check at intervals, until cancelled."""
        while True:
            try:
                await self.check()
            except ServiceError as error:
                log.warning("the event log does not tell the arms' users", error=error.detail)
            await asyncio.sleep(CHECK_S)

    async def check(self) -> None:
        """Check once; without an experiment there is no series."""
        experiment = self._arms.experiment
        if experiment is None:
            self._gauge.clear()
            return
        number, phase = experiment.phase, experiment.phases[experiment.phase]
        by_label = await self._read_totals(labels(experiment, number))
        totals = {arm.name: by_label.get(experiment.label(arm.name, number), ArmTotals()) for arm in phase.arms}
        ratio = ratio_of(phase, totals)
        self._gauge.clear()
        self._gauge.labels(experiment.name).set(1.0 if ratio is None else ratio.p_value)
