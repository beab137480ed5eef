"""Runs one fault after another under load and collects the outcome of each."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deploy.check_service import CheckFailed
from loadtests.rehearsal.background_load import BackgroundLoad
from loadtests.rehearsal.deployment import Deployment, wait_for
from loadtests.rehearsal.faults import Fault, SpareBundles
from loadtests.rehearsal.impact import CallerImpact, FaultTimes, caller_impact, exceeded
from loadtests.shop_traffic import EVENT


@dataclass(frozen=True)
class Outcome:
    """The outcome of one fault."""

    fault: str
    seen: CallerImpact
    retries: int  # by the proxy
    sent_again: int  # refused events that their sender sent again; all of them were accepted
    lost: int  # acknowledged events missing from the log
    doubled: int
    fired: tuple[str, ...]  # alerts that began to fire
    pending: tuple[str, ...]  # alerts that became pending: they would fire if the fault lasted
    broken: tuple[str, ...]  # limits


def run_faults(
    deployment: Deployment, load: BackgroundLoad, faults: Sequence[Fault], spare: SpareBundles, seconds: float
) -> Iterator[Outcome]:
    """Run each fault between two calm periods of so many seconds."""
    for fault in faults:
        yield _run_fault(deployment, load, fault, spare, seconds)


def _run_fault(
    deployment: Deployment, load: BackgroundLoad, fault: Fault, spare: SpareBundles, seconds: float
) -> Outcome:
    watched, retries = time.perf_counter(), deployment.proxy_view.retries()
    time.sleep(seconds)
    alerts_before = deployment.alerts.within(seconds)
    begun, failed_checks = time.perf_counter(), []
    try:
        cause_removed = fault.act(deployment, spare)
    except CheckFailed as error:
        cause_removed, failed_checks = time.perf_counter(), [str(error)]
    wait_for(deployment.is_whole, f"the recovery from {fault.name}", deployment.check_running)
    recovered = time.perf_counter()
    time.sleep(seconds)
    ended = time.perf_counter()
    alerts = deployment.alerts.within(ended - begun).beyond(alerts_before)
    load.wait_for_responses()
    impact = caller_impact(list(load.responses), FaultTimes(watched, begun, cause_removed, recovered, ended))
    sent_again = load.resend_refused()
    lost, doubled = compare_with_log(load, deployment.redis.event_ids())
    return Outcome(
        fault=fault.name,
        seen=impact,
        retries=deployment.proxy_view.retries() - retries,
        sent_again=sent_again,
        lost=lost,
        doubled=doubled,
        fired=tuple(sorted(alerts.firing)),
        pending=tuple(sorted(alerts.pending)),
        broken=(*failed_checks, *exceeded(impact, fault.limits, lost, doubled)),
    )


def compare_with_log(load: BackgroundLoad, logged: Sequence[str]) -> tuple[int, int]:
    """Return how many acknowledged events are missing from the log, and how many it has more than once."""
    counts = Counter(logged)
    acknowledged = {one.event_id for one in list(load.responses) if one.kind == EVENT and one.good}
    return len(acknowledged - counts.keys()), sum(n > 1 for n in counts.values())
