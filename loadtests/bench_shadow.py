"""`python -m loadtests.bench_shadow`: what a shadow costs the answers that are shown."""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import orjson
import typer
from rich.console import Console

from deploy.processes import SERVICE, Child, end_by_signals, free_port, redis_server, server
from index.bundle import write_bundle
from index.cli import command_line, run_cli
from index.experiments import GivenArm, GivenExperiment, Shadow
from index.records import PointerMove
from index.registry import Registry
from loadtests.bench_servers import NO_RESPONSE_CACHE, available_cores, cpu_seconds, on_core, read_counters
from loadtests.load_client import LoadResult, closed_loop, open_arrivals, poisson_arrivals
from loadtests.load_summary import LoadMeasurement, LoadSummary, as_record, summarize, summary_table
from loadtests.random_bundle import CREATED, RandomBundleSizes, publish_random, random_content, user_id
from loadtests.workloads import raw
from service.experiments.transitions import declared

NAME = "bench"
CHANGES, REQUESTS = "reco_experiment_changes_total", "reco_shadow_requests_total"  # metrics with a label `outcome`
SHARES = (0.0, 0.05, 1.0)  # 0: without a shadow
POLL_S = 0.1
OPEN_CONNECTIONS = 64
MOVE = PointerMove(at=datetime(2026, 1, 1, tzinfo=UTC), by="bench")

app = command_line()


@app.command()
def bench_shadow(
    *,
    items: Annotated[int, typer.Option(min=2, help="Items of both random bundles.")] = 20_000,
    users: Annotated[int, typer.Option(min=1, help="Users of both.")] = 20_000,
    k: Annotated[int, typer.Option(min=1, help="Items in a response.")] = 20,
    load: Annotated[
        float, typer.Option(min=0.01, max=1, help="Fixed rate, over that of the closed loop without a shadow.")
    ] = 0.5,
    connections: Annotated[int, typer.Option(min=1, help="Of the closed loop.")] = 16,
    seconds: Annotated[float, typer.Option(min=0.1, help="Duration of one measurement in one round.")] = 3.0,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; each measures every share once, in another order.")] = 6,
    seed: Annotated[int, typer.Option(help="Of the bundles and the arrivals.")] = 0,
) -> None:
    """Measure answers without a shadow and with one that answers 5% and all of the requests too; print tables.

    One service without its response cache, so that each answer is computed: the shadow answers no cached ones. An
    experiment runs all the time, and the shadow's bundle is loaded all the time, as an arm without users. The service
    has one core and the client another. Each round measures every share at the same fixed rate of Poisson arrivals,
    timed from their intended start, and in a closed loop. The last line is JSON.
    """
    end_by_signals()
    rng, cores = np.random.default_rng(seed), available_cores()
    sizes = RandomBundleSizes(items, users)
    with tempfile.TemporaryDirectory(prefix="anchorrec-bench-") as folder, on_core(cores.client):
        registry = Path(folder) / "bundles"
        shadow = write_bundle(registry, random_content(sizes, rng), created_at=CREATED).name
        Registry(registry).publish(shadow, MOVE)  # as a person: no gate needs to run
        publish_random(registry, sizes, rng)
        settings = {**NO_RESPONSE_CACHE, "RECO_BUNDLE_POLL_S": str(POLL_S), "RECO_DATA": str(registry / "data")}
        with redis_server() as redis:
            with on_core(cores.server):
                started = server(SERVICE, registry, free_port(), redis.connection_url, settings=settings)
            with started as service:
                requests = requests_of(users, k, rng)
                bench = ShadowBench(service, Registry(registry), shadow, requests, connections, seconds, rng)
                record = bench.run(load, rounds)
    typer.echo(orjson.dumps({"bench": "shadow", "items": items, "k": k, "load": load, **record}).decode())


def requests_of(n_users: int, k: int, rng: np.random.Generator) -> Iterator[bytes]:
    """Requests for all users, again and again."""
    return cycle([raw(f"/recommend/{user_id(row)}?k={k}") for row in rng.permutation(n_users).tolist()])


@dataclass(frozen=True)
class ShadowBench:
    """The measurements of one service whose registry holds a second bundle."""

    service: Child
    registry: Registry
    shadow: str  # the id of its bundle
    requests: Iterator[bytes]
    connections: int
    seconds: float
    rng: np.random.Generator

    def run(self, load: float, rounds: int) -> dict[str, Any]:
        """Measure all shares, alternating; return the record."""
        self._declare(0.0)
        closed_loop(self.service.port, self.requests, connections=self.connections, seconds=self.seconds)
        rate = load * self._closed().rate
        fixed: dict[str, list[LoadMeasurement]] = {_name(share): [] for share in SHARES}
        saturated: dict[str, list[LoadMeasurement]] = {_name(share): [] for share in SHARES}
        outcomes: dict[str, dict[str, dict[str, float]]] = {}
        for number in range(rounds):
            for share in np.roll(SHARES, number).tolist():
                self._declare(share)
                of_share = outcomes.setdefault(_name(share), {})
                self._measured(fixed[_name(share)], lambda: self._open(rate), of_share.setdefault("fixed", {}))
                self._measured(saturated[_name(share)], self._closed, of_share.setdefault("saturated", {}))
        summaries = {
            "fixed": {name: summarize(found) for name, found in fixed.items()},
            "saturated": {name: summarize(found) for name, found in saturated.items()},
        }
        _show(summaries, rate)
        return {
            "rate": round(rate),
            **{kind: as_record(found) for kind, found in summaries.items()},
            "shadow_requests": outcomes,
        }

    def _declare(self, share: float) -> None:
        """Let the experiment have a shadow of this share, or none, and wait until the service has taken it up."""
        given = GivenExperiment(
            arms=(GivenArm(name="control", weight=100), GivenArm(name="unused", weight=0, bundle=self.shadow)),
            shadow=Shadow(bundle=self.shadow, share=share) if share else None,
        )
        before, running = self._counts(CHANGES)["done"], self.registry.experiments().running
        after = self.registry.change_experiments(partial(declared, name=NAME, given=given, move=MOVE)).running
        while after != running and self._counts(CHANGES)["done"] == before:
            time.sleep(POLL_S)

    def _counts(self, metric: str) -> dict[str, float]:
        return read_counters(self.service, metric, "outcome")

    def _measured(
        self, measurements: list[LoadMeasurement], measure: Callable[[], LoadMeasurement], outcomes: dict[str, float]
    ) -> None:
        before = self._counts(REQUESTS)
        measurements.append(measure())
        for outcome, n in self._counts(REQUESTS).items():
            outcomes[outcome] = outcomes.get(outcome, 0) + n - before[outcome]

    def _open(self, rate: float) -> LoadMeasurement:
        arrivals = poisson_arrivals(rate, self.seconds, self.rng)
        port = self.service.port
        return self._timed(lambda: open_arrivals(port, self.requests, arrivals, connections=OPEN_CONNECTIONS))

    def _closed(self) -> LoadMeasurement:
        seconds, port = self.seconds, self.service.port
        return self._timed(lambda: closed_loop(port, self.requests, connections=self.connections, seconds=seconds))

    def _timed(self, send: Callable[[], LoadResult]) -> LoadMeasurement:
        server_cpu, client_cpu = cpu_seconds(self.service.pid), time.process_time()
        result = send()
        return LoadMeasurement(
            np.array(result.latencies),
            result.failures,
            result.seconds,
            cpu_seconds(self.service.pid) - server_cpu,
            time.process_time() - client_cpu - result.idle,
            redis_reads=0,
            redis_hits=0,
        )


def _name(share: float) -> str:
    return f"shadow of {share:.0%}" if share else "without"


def _show(summaries: Mapping[str, Mapping[str, LoadSummary]], rate: float) -> None:
    console = Console(width=185)
    console.print(summary_table(summaries["fixed"], title=f"{rate:,.0f} requests a second, from the intended start"))
    console.print(summary_table(summaries["saturated"], title="closed loop"))


if __name__ == "__main__":
    run_cli(app)
