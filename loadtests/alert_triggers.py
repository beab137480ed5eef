"""Two services and Redis under a small load, and incidents that trigger alerts."""

import random
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import httpx
import numpy as np

from deploy.processes import SERVICE, Child, free_port, redis_server, server
from index.bundle import write_bundle
from index.experiments import GivenArm, GivenExperiment
from index.records import PointerMove
from index.registry import Registry
from loadtests.load_client import open_arrivals, poisson_arrivals
from loadtests.random_bundle import CREATED, RandomBundleSizes, publish_random, random_content
from loadtests.request_mix import request_mix
from service.experiments.transitions import declared

SIZES = RandomBundleSizes(n_items=300, n_users=300, seen_per_user=10, embedding_size=16)  # few users: some cache hits
CONNECTIONS = 4
NO_KEY = "none"  # the services require no key
TRAINER = "false"  # a command that always fails

FIRING = frozenset({"RecoGateRefuses", "RecoRetrainingFails", "RecoFileRefused"})
PENDING = frozenset({"RecoBundleStale"})  # a random bundle is old, but the alert waits a while


# Runs from the start, so that alerts on experiments have series.
TWINS = GivenExperiment(arms=(GivenArm(name="control", weight=50), GivenArm(name="twin", weight=50)))


@dataclass(frozen=True)
class TriggerServices:
    """The running services and the files that the incidents use."""

    services: tuple[Child, ...]
    rules: Path  # the rules file
    worse: str  # a bundle that the gate refuses

    def send_load(self, rate: float, seconds: float, seed: int) -> None:
        """Send requests of every kind, so many per second, to each service."""

        def send(service: Child, seed: int) -> None:
            requests = (one.request for one in request_mix(SIZES, NO_KEY, random.Random(seed)))
            arrivals = poisson_arrivals(rate, seconds, np.random.default_rng(seed))
            open_arrivals(service.port, requests, arrivals, connections=CONNECTIONS)

        with ThreadPoolExecutor() as threads:
            list(threads.map(send, self.services, count(seed)))

    def trigger(self) -> None:
        """Let the gate refuse a bundle, publish it by force, let a retraining fail, and damage the rules file."""
        client = self.services[0].client
        path = f"/bundles/{self.worse}/publish"
        _expect(client.post(path, timeout=60), httpx.codes.CONFLICT)
        _expect(client.post(path, params={"force": True}, timeout=60), httpx.codes.OK)
        _expect(client.post("/retrain"), httpx.codes.ACCEPTED)
        self.rules.write_text("not JSON", encoding="utf-8")


@contextmanager
def trigger_services() -> Iterator[TriggerServices]:
    """Run Redis and two services on a random bundle, and yield them once they are ready."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(prefix="anchorrec-alerts-") as name:
        folder = Path(name)
        registry, rules = folder / "bundles", folder / "rules.json"
        rules.write_text("{}", encoding="utf-8")
        publish_random(registry, SIZES, rng)
        started = PointerMove(at=CREATED, by="alerts")
        Registry(registry).change_experiments(lambda before: declared(before, "twins", TWINS, started))
        worse = write_bundle(registry, random_content(SIZES, rng), created_at=CREATED).name
        settings = {
            "RECO_ADMIN_OPEN": "true",
            "RECO_RULES_FILE": str(rules),
            "RECO_GATE": '{"overlap_floor": 0.9}',  # the lists of two random bundles hardly overlap
            "RECO_LOG_IMPRESSIONS": "true",
            "RECO_RETRAIN_DATA": str(folder),
            "RECO_RETRAIN_COMMAND": TRAINER,
        }
        with redis_server() as redis, _services(registry, folder, redis.connection_url, settings) as services:
            yield TriggerServices(services, rules, worse)


@contextmanager
def _services(registry: Path, folder: Path, redis_url: str, settings: dict[str, str]) -> Iterator[tuple[Child, ...]]:
    one, other = (
        server(SERVICE, registry, free_port(), redis_url, settings={**settings, "RECO_DATA": str(folder / name)})
        for name in ("one", "other")
    )
    with one as first, other as second:
        yield first, second


def _expect(response: httpx.Response, status: int) -> None:
    if response.status_code != status:
        raise RuntimeError(f"{response.url} returned {response.status_code}, expected {status}: {response.text[:500]}")
