"""`python -m loadtests.rehearsal`: every fault that an operator will meet, on purpose, under load, judged by limits."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from deploy.processes import end_by_signals
from index.cli import command_line, run_cli
from index.errors import InputError
from loadtests.rehearsal.background_load import BackgroundLoad, requests
from loadtests.rehearsal.deployment import found, needed, running
from loadtests.rehearsal.fault_runner import Outcome, rehearse
from loadtests.rehearsal.faults import FAULTS, Fault, SpareBundles
from loadtests.rehearsal.outcome_report import check_writable, outcome_table, write
from loadtests.rehearsal.sample_shop import UNTRAINED, SampleShop, create_shop

LONGER = {"training.epochs": "24"}  # another bundle, no worse
NAMES = ", ".join(fault.name for fault in FAULTS)

app = command_line()


@app.command()
def rehearsal(
    *,
    only: Annotated[list[str] | None, typer.Option(help=f"This fault alone; may be repeated. {NAMES}.")] = None,
    seconds: Annotated[float, typer.Option(min=1, help="Calm before and after each fault.")] = 10.0,
    rate: Annotated[float, typer.Option(min=1, help="Requests a second; two cores carry everything.")] = 40.0,
    out: Annotated[Path | None, typer.Option(help="Also write the table here: a file ending in .md or .json.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave logs, bundles and data, and say where.")] = False,
    seed: Annotated[int, typer.Option(help="Of the shop and of the requests.")] = 0,
) -> None:
    """Three replicas behind HAProxy, Redis under Sentinel, Prometheus; then one fault after another, under steady load.

    A row a fault: requests, how many failed, how many events were refused for now, p99 of reads before, during and
    after; for how long callers felt it; how long until everything was whole again; what the proxy tried again;
    acknowledged events that were lost; which alerts fired, and in brackets which would have, had it lasted.

    The exit status is 1 where a limit is broken, and the last lines name it. Needs no root, but HAProxy:
    apt-get install haproxy prometheus. Without Prometheus no alerts are shown.

    Example: python -m loadtests.rehearsal --only kill-9 --only freeze --seconds 5 --keep
    """
    end_by_signals()
    console = Console()
    faults = chosen(only or [])
    needed("haproxy")
    if out is not None:
        check_writable(out)
    if found("prometheus") is None:
        console.print("Prometheus is not installed (apt-get install prometheus): no alerts will be shown.")
    outcomes: list[Outcome] = []
    with folder(console, keep=keep) as place:
        rng = np.random.default_rng(seed)
        with console.status("a shop, and three bundles by the real trainer"):
            shop, spare = made(place, rng)
        with console.status("starting replicas, Redis, proxy") as status, running(shop, place) as topology:
            load = BackgroundLoad(topology.port, rate, requests(place.name, rng), np.random.default_rng(seed))
            with load:
                status.update(f"{faults[0].name}: {faults[0].said}")
                for done, outcome in enumerate(rehearse(topology, load, faults, spare, seconds), start=1):
                    outcomes.append(outcome)
                    console.print(line(outcome), highlight=False)
                    if done < len(faults):
                        status.update(f"{faults[done].name}: {faults[done].said}")
    conclude(Console(width=max(console.width, 150)), outcomes, out)


def chosen(only: Sequence[str]) -> list[Fault]:
    """The faults of these names, in our order; all where none is named."""
    unknown = sorted(set(only) - {fault.name for fault in FAULTS})
    if unknown:
        raise InputError(f"--only {unknown[0]}: expected one of {NAMES}")
    return [fault for fault in FAULTS if not only or fault.name in only]


@contextmanager
def folder(console: Console, *, keep: bool) -> Iterator[Path]:
    """For everything that is written."""
    place = Path(tempfile.mkdtemp(prefix="rehearsal-"))
    try:
        yield place
    finally:
        if keep:
            console.print(f"logs and data: {place}", highlight=False)
        else:
            shutil.rmtree(place, ignore_errors=True)


def made(place: Path, rng: np.random.Generator) -> tuple[SampleShop, SpareBundles]:
    """The shop with a bundle that serves, and two that do not yet."""
    shop = create_shop(place / "shop", rng)
    shop.publish(shop.trained(place / "first"))
    return shop, SpareBundles(shop.trained(place / "better", LONGER), shop.trained(place / "untrained", UNTRAINED))


def line(outcome: Outcome) -> str:
    """A word on each fault as it has been."""
    mark = "[red]BROKEN[/]" if outcome.broken else "[green]kept[/]"
    return f"{mark} {outcome.fault}: {outcome.seen.requests} requests, {outcome.seen.failures} failed"


def conclude(console: Console, outcomes: Sequence[Outcome], out: Path | None) -> None:
    """Show the table, write it, and exit with 1 where a limit is broken."""
    console.print(outcome_table(outcomes))
    if out is not None:
        write(out, outcomes)
    broken = [f"{outcome.fault}: {limit}" for outcome in outcomes for limit in outcome.broken]
    for limit in broken:
        console.print(f"[red]broken limit[/] {limit}", highlight=False)
    if broken:
        raise typer.Exit(1)


if __name__ == "__main__":
    run_cli(app)
