"""Two services beside Redis, under a little load, to which things happen that somebody should be told of."""

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
from loadtests.load_client import open_arrivals, poisson_arrivals
from loadtests.random_bundle import CREATED, BundleSizes, publish_random, random_content
from loadtests.request_mix import request_mix

SIZES = BundleSizes(n_items=300, n_users=300, seen_per_user=10, embedding_size=16)  # few users: some answers are kept
CONNECTIONS = 4
NO_KEY = "none"  # nobody asks for one
TRAINER = "false"  # a command that fails, whatever it is given

FIRING = frozenset({"RecoGateRefuses", "RecoRetrainingFails", "RecoFileRefused"})
PENDING = frozenset({"RecoBundleStale"})  # a random bundle is old, but has to be so for a while


@dataclass(frozen=True)
class AlertTriggers:
    """The services, and what belongs to them."""

    services: tuple[Child, ...]
    rules: Path  # of standing rules
    worse: str  # a bundle that the gate refuses

    def load(self, rate: float, seconds: float, seed: int) -> None:
        """Requests of every kind, so many a second to each."""

        def ask(service: Child, seed: int) -> None:
            asked = (one.request for one in request_mix(SIZES, NO_KEY, random.Random(seed)))
            arrivals = poisson_arrivals(rate, seconds, np.random.default_rng(seed))
            open_arrivals(service.port, asked, arrivals, connections=CONNECTIONS)

        with ThreadPoolExecutor() as threads:
            list(threads.map(ask, self.services, count(seed)))

    def provoke(self) -> None:
        """The gate refuses a bundle, which is published by force; a retraining fails; a file of rules is wrong."""
        client = self.services[0].client
        path = f"/bundles/{self.worse}/publish"
        _expect(client.post(path, timeout=60), httpx.codes.CONFLICT)
        _expect(client.post(path, params={"force": True}, timeout=60), httpx.codes.OK)
        _expect(client.post("/retrain"), httpx.codes.ACCEPTED)
        self.rules.write_text("not JSON", encoding="utf-8")


@contextmanager
def services_with_triggers() -> Iterator[AlertTriggers]:
    """Redis and two services on a random bundle, ready; stopped at the end."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(prefix="anchorrec-alerts-") as name:
        folder = Path(name)
        registry, rules = folder / "bundles", folder / "rules.json"
        rules.write_text("{}", encoding="utf-8")
        publish_random(registry, SIZES, rng)
        worse = write_bundle(registry, random_content(SIZES, rng), created_at=CREATED).name
        settings = {
            "RECO_ADMIN_OPEN": "true",
            "RECO_RULES_FILE": str(rules),
            "RECO_GATE": '{"overlap_floor": 0.9}',  # two random bundles recommend nothing alike
            "RECO_LOG_IMPRESSIONS": "true",
            "RECO_RETRAIN_DATA": str(folder),
            "RECO_RETRAIN_COMMAND": TRAINER,
        }
        with redis_server() as redis, _services(registry, folder, redis.connection_url, settings) as services:
            yield AlertTriggers(services, rules, worse)


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
        raise RuntimeError(f"{response.url} answered {response.status_code}, expected {status}: {response.text[:500]}")
