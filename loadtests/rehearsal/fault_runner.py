"""One fault after another while the load goes on, and what came of each."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deploy.check_service import CheckFailed
from loadtests.rehearsal.background_load import BackgroundLoad
from loadtests.rehearsal.deployment import Deployment, wait_for
from loadtests.rehearsal.faults import Fault, SpareBundles
from loadtests.rehearsal.impact import CallerImpact, FaultTimes, broken, seen
from loadtests.shop_traffic import EVENT


@dataclass(frozen=True)
class Outcome:
    """Of one fault."""

    fault: str
    seen: CallerImpact
    retries: int  # by the proxy
    sent_again: int  # refused events, by their sender, all of them accepted
    lost: int  # acknowledged events that the log lacks
    doubled: int
    fired: tuple[str, ...]  # alerts that did not fire before
    pending: tuple[str, ...]  # alerts that would, were it to last
    broken: tuple[str, ...]  # limits


def rehearse(
    topology: Deployment, load: BackgroundLoad, faults: Sequence[Fault], spare: SpareBundles, seconds: float
) -> Iterator[Outcome]:
    """Each fault between two calm stretches of so many seconds."""
    for fault in faults:
        yield _one(topology, load, fault, spare, seconds)


def _one(topology: Deployment, load: BackgroundLoad, fault: Fault, spare: SpareBundles, seconds: float) -> Outcome:
    watched, retries = time.perf_counter(), topology.proxy_view.retries()
    time.sleep(seconds)
    alerts_before = topology.alerts.within(seconds)
    begun, unmet = time.perf_counter(), []
    try:
        mended = fault.act(topology, spare)
    except CheckFailed as error:
        mended, unmet = time.perf_counter(), [str(error)]
    wait_for(topology.whole, f"everything to be whole after {fault.name}", topology.running)
    whole = time.perf_counter()
    time.sleep(seconds)
    ended = time.perf_counter()
    alerts = topology.alerts.within(ended - begun).beyond(alerts_before)
    load.settle()
    found = seen(list(load.answers), FaultTimes(watched, begun, mended, whole, ended))
    sent_again = load.send_again()
    lost, doubled = compare_with_log(load, topology.redis.event_ids())
    return Outcome(
        fault=fault.name,
        seen=found,
        retries=topology.proxy_view.retries() - retries,
        sent_again=sent_again,
        lost=lost,
        doubled=doubled,
        fired=tuple(sorted(alerts.firing)),
        pending=tuple(sorted(alerts.pending)),
        broken=(*unmet, *broken(found, fault.limits, lost, doubled)),
    )


def compare_with_log(load: BackgroundLoad, held: Sequence[str]) -> tuple[int, int]:
    """How many acknowledged events the log lacks, and how many it has more than once."""
    counted = Counter(held)
    acknowledged = {one.event_id for one in list(load.answers) if one.kind == EVENT and one.good}
    return len(acknowledged - counted.keys()), sum(n > 1 for n in counted.values())
