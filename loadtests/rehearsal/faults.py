"""The faults, in the order in which they are made to happen, each with what it may do to callers."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from deploy.check_service import expect
from loadtests.rehearsal.deployment import Deployment, wait_for
from loadtests.rehearsal.impact import FaultLimits

HELD_S = 6.0  # how long what hangs or is full stays so
RESTART_S = 1.0  # until a supervisor has noticed that a process is gone
TRAINING_S = 180.0
ENDED = {"published", "refused", "failed", "cancelled"}

Mended = float  # when the cause was gone, by time.perf_counter
Act = Callable[[Deployment, "SpareBundles"], Mended]


@dataclass(frozen=True)
class SpareBundles:
    """Bundles made beforehand, not yet published."""

    better: str
    untrained: str


@dataclass(frozen=True)
class Fault:
    """Something that happens. `act` returns, or raises CheckFailed, when it was done and its cause is gone."""

    name: str
    said: str  # what is done, and what should come of it
    act: Act
    limits: FaultLimits


def rolling_restart(topology: Deployment, spare: SpareBundles) -> Mended:
    """One replica after another, the next when the one before is sent requests again."""
    mended = time.perf_counter()
    for name, replica in topology.replicas.items():
        replica.process.stop()
        replica.process.start()
        mended = time.perf_counter()
        wait_for(lambda name=name: name in topology.proxy_view.up(), f"replica {name} behind the proxy")  # type: ignore[misc]
    return mended


def hot_swap(topology: Deployment, spare: SpareBundles) -> Mended:
    """Published through the proxy: the replica that is asked swaps, the others follow."""
    begun = time.perf_counter()
    answer = topology.post(f"/bundles/{spare.better}/publish")
    expect(answer.status_code == httpx.codes.OK, f"publishing was answered {_told(answer)}")
    wait_for(lambda: topology.bundles() == {spare.better}, "all replicas on the new bundle")
    return begun


def redis_failover(topology: Deployment, spare: SpareBundles) -> Mended:
    """The master is killed; Sentinel makes another. A supervisor brings the old one back, which follows then."""
    begun, old = time.perf_counter(), topology.redis.master()
    old.process.kill()
    wait_for(lambda: topology.redis.master() is not old, "another master")
    old.process.start()
    return begun


def killed(topology: Deployment, spare: SpareBundles) -> Mended:
    """Kill -9 of one replica; a supervisor starts it again."""
    begun, replica = time.perf_counter(), topology.replicas["two"]
    replica.process.kill()
    time.sleep(RESTART_S)
    replica.process.start()
    return begun


def frozen(topology: Deployment, spare: SpareBundles) -> Mended:
    """One replica hangs for a while: the kernel takes its connections, nobody answers."""
    replica = topology.replicas["three"]
    replica.process.freeze()
    try:
        wait_for(lambda: "three" not in topology.proxy_view.up(), "the proxy to notice")
        time.sleep(HELD_S)
    finally:
        replica.process.thaw()
    return time.perf_counter()


def retrained(topology: Deployment, spare: SpareBundles) -> Mended:
    """POST /retrain through the proxy: the real trainer learns the events so far, the gate lets its bundle pass."""
    begun = time.perf_counter()
    answer = topology.post("/retrain")
    expect(answer.status_code == httpx.codes.ACCEPTED, f"POST /retrain was answered {_told(answer)}")
    job = answer.json()["job"]["id"]
    wait_for(lambda: _job(topology, job)["state"] in ENDED, "the retraining", seconds=TRAINING_S)
    found = _job(topology, job)
    expect(found["state"] == "published", f"the retraining was {found['state']}: {found['reason']}")
    wait_for(lambda: topology.bundles() == {found["bundle"]}, "all replicas on the retrained bundle")
    return begun


def disk_full(topology: Deployment, spare: SpareBundles) -> Mended:
    """The log of Redis's master cannot grow for a while: events are refused with 503, all else is answered."""
    master = topology.redis.master()
    master.process.limit_files(master.log_bytes())
    try:
        time.sleep(HELD_S)
    finally:
        master.process.limit_files()
    return time.perf_counter()


def refused_bundle(topology: Deployment, spare: SpareBundles) -> Mended:
    """A bundle that was hardly trained is to be published: the gate says no, the one before serves on."""
    begun, before = time.perf_counter(), topology.bundles()
    answer = topology.post(f"/bundles/{spare.untrained}/publish")
    expect(answer.status_code == httpx.codes.CONFLICT, f"publishing it was answered {_told(answer)}")
    expect(answer.json()["error"] == "gate_refused", f"it was refused otherwise: {_told(answer)}")
    expect(topology.bundles() == before, f"{topology.bundles()} serve, expected {before}")
    return begun


def _job(topology: Deployment, job: str) -> dict[str, str]:
    answer = topology.get(f"/retrain/{job}")
    expect(answer.status_code == httpx.codes.OK, f"GET /retrain/{job} was answered {_told(answer)}")
    found: dict[str, str] = answer.json()["job"]
    return found


def _told(answer: httpx.Response) -> str:
    return f"{answer.status_code}: {answer.text[:300]}"


FAULTS = (
    Fault("rolling-restart", "each replica is stopped (SIGTERM) and started, one after another", rolling_restart,
          FaultLimits(whole_s=15, felt_s=0)),
    Fault("hot-swap", "another bundle is published", hot_swap, FaultLimits(whole_s=15, felt_s=0)),
    Fault("redis-failover", "the master of Redis is killed (SIGKILL), Sentinel makes another", redis_failover,
          FaultLimits(whole_s=20, felt_s=5)),
    Fault("kill-9", "a replica is killed (SIGKILL), and started again a second later", killed, FaultLimits(whole_s=15)),
    Fault("freeze", "a replica hangs (SIGSTOP), and goes on later", frozen, FaultLimits(whole_s=10, felt_s=4)),
    Fault("retrain", "the trainer learns the events so far, the gate lets its bundle pass, it is published", retrained,
          FaultLimits(whole_s=TRAINING_S, felt_s=0)),
    Fault("disk-full", "Redis's append-only file cannot grow for a while", disk_full,
          FaultLimits(refusals=1_000_000, whole_s=10, felt_s=HELD_S + 10)),
    Fault("bad-bundle", "a bundle that was hardly trained is to be published", refused_bundle,
          FaultLimits(whole_s=15, felt_s=0)),
)  # fmt: skip
