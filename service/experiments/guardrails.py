"""Ends an arm whose answers are bad, or rolls it back to its bundle before, by the experiment's guardrails.

An arm's answers are compared with those of the control in the same time, kind by kind and without the callers that say
most, as those of a newly published bundle are with the bundle before (service/bundles/canary.py). Each process judges
its own answers; the first that acts does so for all.
"""

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import structlog

from index.experiments import Arm, Guardrails
from service.bundles.canary import Limits, judge, watch_limits
from service.bundles.loaded import LoadedBundle
from service.bundles.probe import probe
from service.bundles.traffic import Traffic
from service.errors import ServiceError
from service.experiments.arms import Arms
from service.experiments.control import ExperimentControl
from service.settings import BundleSettings
from service.telemetry.metrics import ExperimentMetrics

CHECK_S = 2.0
MOST_BUSY = 0.02  # of the time: with many callers judging takes long
PROBE_S = 60.0  # between two times that an arm is probed
WINDOW_S = 600.0  # at least; answers from before the last window do not count
WINDOW_REQUESTS = 10  # times min_requests, at least

Fault = Literal["errors", "slow", "coverage"]

log = structlog.get_logger()


class Finding(NamedTuple):
    """What is wrong with an arm's answers."""

    fault: Fault
    why: str
    limit: float
    certain: bool = True  # else the answers to some callers say so, and probes must confirm it


class _Mark(NamedTuple):
    """What an arm and the control had answered when a window began."""

    at: float  # by the clock of durations
    arm: Traffic
    control: Traffic


@dataclass
class Comparison:
    """The answers of an arm's bundle and of the control, since the later of the two began to serve."""

    arm: Traffic
    control: Traffic
    served_from: float  # when the arm's bundle began to serve, by the clock of durations
    before: Traffic | None = None  # of the arm's bundle before, while this one is new
    since: float | None = None  # when the control's began to serve, where that is later
    probed: float = -PROBE_S  # when the bundles were probed last
    _marks: deque[_Mark] = field(init=False, repr=False)  # of the last window and of this one

    def __post_init__(self) -> None:
        self._marks = deque(maxlen=2)
        self._mark(self.served_from if self.since is None else self.since)

    def _mark(self, now: float) -> None:
        self._marks.append(_Mark(now, self.arm.since(Traffic()), self.control.since(Traffic())))

    def find(self, guardrails: Guardrails, settings: BundleSettings, now: float) -> Finding | None:
        """What is wrong with the arm's answers; None where nothing is, or too little is known. Threads may run it."""
        first, last = self._marks[0], self._marks[-1]
        new, control = self.arm.since(first.arm), self.control.since(first.control)
        references = [control] if self.before is None else [control, self.before]
        limits = [guarded_limits(guardrails, settings)]
        if self.before is not None:
            limits.append(watch_limits(settings))
        found = [finding for one in limits if (finding := _judged(new, references, one)) is not None]
        low = coverage(self.arm, self.control, guardrails)
        if low is not None:
            found.append(low)
        answered = self.arm.answers - last.arm.answers
        if now - last.at >= WINDOW_S and answered >= WINDOW_REQUESTS * guardrails.min_requests:
            self._mark(now)
        return next((one for one in found if one.certain), found[0] if found else None)


def guarded_limits(guardrails: Guardrails, settings: BundleSettings) -> Limits:
    """The limits of an arm compared with the control; an answer is never slow below that of a published bundle."""
    return Limits(
        max_error_share=guardrails.max_error_share,
        max_p99_ratio=guardrails.max_p99_ratio,
        max_p99_ms=settings.watch_max_p99_ms,
        min_requests=guardrails.min_requests,
        reference="the control",
    )


def _judged(new: Traffic, references: list[Traffic], limits: Limits) -> Finding | None:
    verdict = judge(new, references, limits)
    why = verdict.reason or verdict.suspicion
    if not why:
        return None
    if verdict.slow:
        return Finding("slow", why, limits.max_p99_ratio or 1.0, certain=bool(verdict.reason))
    known = sum(reference.answers for reference in references) >= limits.min_requests  # whether the control fails, too
    return Finding("errors", why, limits.max_error_share or 0.0, certain=bool(verdict.reason) and known)


def coverage(arm: Traffic, control: Traffic, guardrails: Guardrails) -> Finding | None:
    """Whether the arm shows too few different items, compared with as many lists of the control."""
    n, limit = min(arm.lists, control.lists), guardrails.min_coverage
    if limit is None or n < guardrails.min_requests:
        return None
    shown, of = arm.distinct_items(n), control.distinct_items(n)
    if shown >= limit * of:
        return None
    why = f"{n} lists show {shown} different items, those of the control {of}; limit {limit:.0%}"
    return Finding("coverage", why, limit)


class GuardedArms:
    """Checks the guardrails of the running experiment at intervals; without an experiment it does nothing."""

    def __init__(
        self, arms: Arms, control: ExperimentControl, settings: BundleSettings, metrics: ExperimentMetrics, replica: str
    ) -> None:
        self._arms = arms
        self._control = control
        self._settings = settings
        self._metrics = metrics
        self._replica = replica
        self._experiment = ""
        self._judging_s = 0.0  # in the last check
        self._comparisons: dict[str, tuple[str, Comparison]] = {}  # by name of the arm: of which bundle, and it

    async def watch(self) -> None:
        """Check all arms at intervals, until cancelled."""
        while True:
            self._judging_s = 0.0
            await self.check()
            await asyncio.sleep(max(CHECK_S, self._judging_s / MOST_BUSY))

    async def check(self) -> None:
        """Judge each arm that answers from a bundle of its own, and act."""
        experiment = self._arms.experiment
        name = "" if experiment is None else experiment.name
        if name != self._experiment:
            self._experiment, self._comparisons = name, {}
        for arm in () if experiment is None else experiment.arms:
            finding = await self._find(arm)
            if finding is not None:
                bundle_id, comparison = self._comparisons.pop(arm.name)
                await self._act(arm.name, bundle_id, finding, back=comparison.before is not None)

    async def _find(self, arm: Arm) -> Finding | None:  # a frame of its own, which holds the bundles only meanwhile
        experiment, served = self._arms.experiment, self._arms.served.get(arm.name)
        if experiment is None or served is None or served.slot is None or served.arm.bundle is None:
            self._comparisons.pop(arm.name, None)
            return None
        if served.slot.bundle_id != served.arm.bundle:  # the new one is being loaded
            return None
        control = self._arms.served[experiment.control.name].slot
        assert control is not None  # it serves what is published
        loaded, reference, start = served.slot.loaded, control.loaded, time.monotonic()
        finding = await asyncio.to_thread(
            self._compare, served.arm, loaded.traffic, reference.traffic, experiment.guardrails
        )
        self._judging_s += time.monotonic() - start
        if finding is None or finding.certain:
            return finding
        return await self._verified(arm.name, finding, loaded, reference)

    def _compare(self, arm: Arm, traffic: Traffic, control: Traffic, guardrails: Guardrails) -> Finding | None:
        """Judge what serves now; the comparison starts again where the arm or the control has another bundle."""
        now, bundle_id = time.monotonic(), arm.bundle or ""
        known_id, known = self._comparisons.get(arm.name, ("", None))
        if known is None or known_id != bundle_id:
            before = known.arm if known is not None and known_id in arm.history else None
            known = Comparison(traffic, control, now, before)
        elif known.control is not control:
            known = replace(known, control=control, since=now)
        if now - known.served_from > self._settings.watch_s:
            known.before = None
        self._comparisons[arm.name] = bundle_id, known
        return known.find(guardrails, self._settings, now)

    async def _verified(
        self, arm: str, finding: Finding, loaded: LoadedBundle, control: LoadedBundle
    ) -> Finding | None:
        """The finding with what probes of both bundles say, None where they do not confirm it."""
        now, (_, comparison) = time.monotonic(), self._comparisons[arm]
        if now - comparison.probed < PROBE_S:
            return None
        comparison.probed = now
        of_arm, of_control = await probe(loaded), await probe(control)
        if finding.fault == "slow":
            least_s = self._settings.watch_max_p99_ms / 1000  # no answer is slow below it
            confirmed = of_arm.p90_s > max(finding.limit * of_control.p90_s, least_s)
            said = (
                f"a tenth of the probes take {of_arm.p90_s * 1000:.1f} ms, the control's {of_control.p90_s * 1000:.1f}"
            )
        else:
            most = finding.limit * of_arm.lists
            confirmed = of_arm.failed > most >= of_control.failed
            said = f"so did {of_arm}, of the control {of_control.failed}"
        return finding._replace(why=f"{finding.why}; {said}") if confirmed else None

    async def _act(self, arm: str, bundle_id: str, finding: Finding, *, back: bool) -> None:
        facts = {"experiment": self._experiment, "arm": arm, "bundle": bundle_id, "why": finding.why}
        try:
            outcome = await self._control.take_out(
                self._experiment, arm, bundle_id, by=self._replica, why=finding.why, back=back
            )
        except ServiceError as error:
            self._metrics.arm_endings.labels(finding.fault, "failed").inc()
            log.error("a bad arm cannot be ended", error=error.detail, **facts)
            return
        self._metrics.arm_endings.labels(finding.fault, outcome).inc()
        if outcome != "done_by_another":
            log.error("arm ended by a guardrail", outcome=outcome, **facts)
