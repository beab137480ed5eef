"""The faults of the rehearsal in their order, each with limits on its impact on callers."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from deploy.check_service import expect
from loadtests.rehearsal.deployment import Deployment, wait_for
from loadtests.rehearsal.impact import FaultLimits

HELD_S = 6.0  # duration of a freeze and of a full disk
RESTART_S = 1.0  # until a supervisor restarts a process
TRAINING_S = 180.0
FINISHED = {"published", "refused", "failed", "cancelled"}

CauseRemoved = float  # when the cause was removed, by time.perf_counter
InjectFault = Callable[[Deployment, "SpareBundles"], CauseRemoved]


@dataclass(frozen=True)
class SpareBundles:
    """Bundles that are not published yet."""

    better: str
    untrained: str


@dataclass(frozen=True)
class Fault:
    """One fault. `act` injects it, removes its cause, and returns; it raises CheckFailed on a wrong response."""

    name: str
    description: str
    act: InjectFault
    limits: FaultLimits


def rolling_restart(deployment: Deployment, spare: SpareBundles) -> CauseRemoved:
    """Restart one replica after another; each waits until the one before receives requests again."""
    cause_removed = time.perf_counter()
    for name, replica in deployment.replicas.items():
        replica.process.stop()
        replica.process.start()
        cause_removed = time.perf_counter()
        wait_for(lambda name=name: name in deployment.proxy_view.up(), f"replica {name} behind the proxy")  # type: ignore[misc]
    return cause_removed


def hot_swap(deployment: Deployment, spare: SpareBundles) -> CauseRemoved:
    """Publish a bundle through the proxy: one replica swaps, the others follow."""
    begun = time.perf_counter()
    response = deployment.post(f"/bundles/{spare.better}/publish")
    expect(response.status_code == httpx.codes.OK, f"publishing returned {_text(response)}")
    wait_for(lambda: deployment.bundles() == {spare.better}, "all replicas on the new bundle")
    return begun


def redis_failover(deployment: Deployment, spare: SpareBundles) -> CauseRemoved:
    """Kill the master; Sentinel promotes a replica. The old master restarts as a replica."""
    begun, old = time.perf_counter(), deployment.redis.master()
    old.process.kill()
    wait_for(lambda: deployment.redis.master() is not old, "another master")
    old.process.start()
    return begun


def killed(deployment: Deployment, spare: SpareBundles) -> CauseRemoved:
    """Kill one replica with SIGKILL, and restart it."""
    begun, replica = time.perf_counter(), deployment.replicas["two"]
    replica.process.kill()
    time.sleep(RESTART_S)
    replica.process.start()
    return begun


def frozen(deployment: Deployment, spare: SpareBundles) -> CauseRemoved:
    """Suspend one replica for a while: the kernel accepts its connections, but it sends no response."""
    replica = deployment.replicas["three"]
    replica.process.freeze()
    try:
        wait_for(lambda: "three" not in deployment.proxy_view.up(), "the proxy to take it out")
        time.sleep(HELD_S)
    finally:
        replica.process.thaw()
    return time.perf_counter()


def retrained(deployment: Deployment, spare: SpareBundles) -> CauseRemoved:
    """Retrain through the proxy: the real trainer uses the events so far, and the bundle passes the gate."""
    begun = time.perf_counter()
    response = deployment.post("/retrain")
    expect(response.status_code == httpx.codes.ACCEPTED, f"POST /retrain returned {_text(response)}")
    job = response.json()["job"]["id"]
    wait_for(lambda: _job(deployment, job)["state"] in FINISHED, "the retraining", seconds=TRAINING_S)
    found = _job(deployment, job)
    expect(found["state"] == "published", f"the retraining was {found['state']}: {found['reason']}")
    wait_for(lambda: deployment.bundles() == {found["bundle"]}, "all replicas on the retrained bundle")
    return begun


def disk_full(deployment: Deployment, spare: SpareBundles) -> CauseRemoved:
    """Stop the append-only file of Redis's master from growing for a while: events get 503, other requests succeed."""
    master = deployment.redis.master()
    master.process.limit_files(master.log_bytes())
    try:
        time.sleep(HELD_S)
    finally:
        master.process.limit_files()
    return time.perf_counter()


def refused_bundle(deployment: Deployment, spare: SpareBundles) -> CauseRemoved:
    """Try to publish a bundle that was hardly trained: the gate refuses it, and the previous bundle stays."""
    begun, before = time.perf_counter(), deployment.bundles()
    response = deployment.post(f"/bundles/{spare.untrained}/publish")
    expect(response.status_code == httpx.codes.CONFLICT, f"publishing it returned {_text(response)}")
    expect(response.json()["error"] == "gate_refused", f"it was refused for another reason: {_text(response)}")
    expect(deployment.bundles() == before, f"{deployment.bundles()} serve, expected {before}")
    return begun


def _job(deployment: Deployment, job: str) -> dict[str, str]:
    response = deployment.get(f"/retrain/{job}")
    expect(response.status_code == httpx.codes.OK, f"GET /retrain/{job} returned {_text(response)}")
    found: dict[str, str] = response.json()["job"]
    return found


def _text(response: httpx.Response) -> str:
    return f"{response.status_code}: {response.text[:300]}"


FAULTS = (
    Fault("rolling-restart", "each replica is stopped (SIGTERM) and started, one after another", rolling_restart,
          FaultLimits(whole_s=15, felt_s=0)),
    Fault("hot-swap", "another bundle is published", hot_swap, FaultLimits(whole_s=15, felt_s=0)),
    Fault("redis-failover", "the Redis master is killed (SIGKILL), Sentinel promotes a replica", redis_failover,
          FaultLimits(whole_s=20, felt_s=5)),
    Fault("kill-9", "a replica is killed (SIGKILL) and restarted a second later", killed, FaultLimits(whole_s=15)),
    Fault("freeze", "a replica is suspended (SIGSTOP) and resumed later", frozen, FaultLimits(whole_s=10, felt_s=4)),
    Fault("retrain", "the trainer uses the events so far; its bundle passes the gate and is published", retrained,
          FaultLimits(whole_s=TRAINING_S, felt_s=0)),
    Fault("disk-full", "Redis's append-only file cannot grow for a while", disk_full,
          FaultLimits(refusals=1_000_000, whole_s=10, felt_s=HELD_S + 10)),
    Fault("bad-bundle", "an attempt to publish a bundle that was hardly trained", refused_bundle,
          FaultLimits(whole_s=15, felt_s=0)),
)  # fmt: skip
