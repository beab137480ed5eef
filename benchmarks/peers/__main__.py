"""`python -m benchmarks.peers`: compare our service with other serving frameworks that return the same items."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import orjson
import typer
from rich.console import Console
from rich.progress import track

from benchmarks.peers.peer import PEERS, Peer
from benchmarks.peers.peer_process import PeerInput, running_peer
from benchmarks.peers.venvs import programs
from deploy.processes import Child, end_by_signals
from index.bundle import open_bundle
from index.cli import command_line, run_cli
from index.errors import InputError
from index.registry import Registry
from loadtests.baseline_app import PATH
from loadtests.bench_servers import BASELINE, SHIPPED, UNCACHED, BenchKey, Cores, available_cores, on_core, running
from loadtests.benchmark import QUICK, Benchmark, Pace
from loadtests.load_summary import LoadSummary, as_record, caveats, summary_table
from loadtests.random_bundle import RandomBundleSizes, publish_random, user_id
from loadtests.workloads import QUICK_REQUESTS, Workload, raw, workload, zipf_rows

OURS, OURS_UNCACHED = "anchorrec", "anchorrec, uncached"
CONNECTIONS = 16
REDIS_DATABASE = 2

app = command_line()


@app.command()
def bench_peers(
    *,
    peers: Annotated[str, typer.Option(help="Names of peers, separated by commas.")] = ",".join(PEERS),
    venvs: Annotated[Path, typer.Option(help="Folder of their virtual environments.")] = Path(".venv-peers"),
    items: Annotated[int, typer.Option(min=2, help="Items of the random bundle.")] = 20_000,
    users: Annotated[int, typer.Option(min=3, help="Users of the random bundle.")] = 100_000,
    seen: Annotated[int, typer.Option(min=1, help="Seen items of each user, which are excluded.")] = 30,
    size: Annotated[int, typer.Option(min=1, help="Dimensions of the embeddings.")] = 64,
    k: Annotated[int, typer.Option(min=1, help="Items in a response.")] = 10,
    connections: Annotated[int, typer.Option(min=1, help="Keep-alive connections.")] = CONNECTIONS,
    seconds: Annotated[float, typer.Option(min=0.1, help="Duration of one measurement in one round.")] = 1.0,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; each measures every server once.")] = 6,
    requests: Annotated[int, typer.Option(min=1, help="Requests drawn by Zipf's law, then repeated.")] = 20_000,
    seed: Annotated[int, typer.Option(help="Of the bundle and of the requests.")] = 0,
    quick: Annotated[
        bool, typer.Option("--quick", help="One short round with few requests: only shows that the benchmark works.")
    ] = False,
) -> None:
    """Measure the peers over real sockets; print a table, then one line of JSON.

    Each peer serves the same vectors from a flat FAISS index without seen items, with one worker and one thread, on the
    same core as our service; before it is measured it must return the items that our index finds. The peers check no
    key, use no Redis and have no metrics (except that LibRecommender's server always uses Redis); our service does all
    of that.

    A peer that cannot be installed or does not start is listed as absent, with the reason.

    Example: python -m benchmarks.peers --peers litserve,mosec --quick
    """
    selected = _chosen(peers)
    end_by_signals()
    pace, n_requests = (QUICK, QUICK_REQUESTS) if quick else (Pace(seconds, rounds), requests)
    sizes, rng, cores = RandomBundleSizes(items, users, seen, size), np.random.default_rng(seed), available_cores()
    installed, absent = _installed(selected, venvs)
    with tempfile.TemporaryDirectory(prefix="anchorrec-bench-") as folder:
        registry, key = Path(folder) / "bundles", BenchKey.create(Path(folder) / "keys.jsonl")
        publish_random(registry, sizes, rng)
        user_ids = [user_id(row) for row in zipf_rows(sizes.n_users, n_requests, rng).tolist()]
        with running(registry, cores, key, (SHIPPED, UNCACHED)) as servers:
            given = PeerInput(open_bundle(Registry(registry).current()), f"{servers.redis_address}/{REDIS_DATABASE}", k)
            with _started(installed, given, cores, absent) as children:
                all_servers = replace(servers, children={**servers.children, **children})
                workloads = _workloads([PEERS[name] for name in children], user_ids, k, key.key)
                with all_servers.pausing(children, pace.resume_s) as paused:
                    benchmark = Benchmark(paused, workloads)
                    benchmark.warm_up()
                    summaries = benchmark.closed(connections, pace)
    show(summaries, absent, connections)
    record = {
        "bench": "peers",
        **asdict(sizes),
        "k": k,
        "connections": connections,
        "cores": asdict(cores),
        "packages": {peer.name: peer.packages for peer in selected},
        "absent": absent,
        "closed": as_record(summaries),
    }
    typer.echo(orjson.dumps(record).decode())


def _chosen(names: str) -> list[Peer]:
    given = [name.strip() for name in names.split(",") if name.strip()]
    for name in given:
        if name not in PEERS:
            raise InputError(f"--peers: {name!r} is not known; expected some of {', '.join(PEERS)}")
    return [PEERS[name] for name in given]


def _installed(peers: list[Peer], venvs: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """Return the `bin` folder of each installed peer, and the reason for each other."""
    found, absent = {}, {}
    for peer in track(peers, "installing", console=Console(stderr=True), transient=True):
        try:
            found[peer.name] = programs(peer, venvs)
        except InputError as error:
            absent[peer.name] = str(error)
    return found, absent


@contextmanager
def _started(
    installed: Mapping[str, Path], given: PeerInput, cores: Cores, absent: dict[str, str]
) -> Iterator[dict[str, Child]]:
    """Run all peers on the server's core; the reasons of those that do not start are added to `absent`."""
    children = {}
    with ExitStack() as stack:
        for name, found in installed.items():
            try:
                with on_core(cores.server):
                    children[name] = stack.enter_context(running_peer(PEERS[name], found, given))
            except InputError as error:
                absent[name] = str(error)
        yield children


def _workloads(peers: list[Peer], users: list[str], k: int, key: str) -> tuple[Workload, ...]:
    ours = [raw(f"/recommend/{user}?k={k}", key=key) for user in users]
    return (
        workload(BASELINE, BASELINE, [raw(PATH)]),
        workload(OURS, SHIPPED, ours, len(ours)),
        workload(OURS_UNCACHED, UNCACHED, ours, len(ours)),
        *(workload(peer.name, peer.name, [peer.request(user, k) for user in users]) for peer in peers),
    )


def show(summaries: Mapping[str, LoadSummary], absent: Mapping[str, str], connections: int) -> None:
    """Print the table and its caveats."""
    console = Console(width=150)
    console.print(summary_table(summaries, title=f"closed loop, {connections} connections", absent=absent))
    for line in (*(f"{name}: {why}" for name, why in absent.items()), *caveats(summaries)):
        console.print(line, style="yellow", highlight=False)


if __name__ == "__main__":
    run_cli(app)
