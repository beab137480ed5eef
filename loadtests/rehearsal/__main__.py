"""`python -m loadtests.rehearsal`: inject operational faults under load and check the limits on their impact."""

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
from loadtests.rehearsal.deployment import find_program, require, running
from loadtests.rehearsal.fault_runner import Outcome, run_faults
from loadtests.rehearsal.faults import FAULTS, Fault, SpareBundles
from loadtests.rehearsal.outcome_report import check_writable, outcome_table, write
from loadtests.rehearsal.sample_shop import UNTRAINED, SampleShop, create_shop

LONGER = {"training.epochs": "24"}  # makes another bundle that is no worse
NAMES = ", ".join(fault.name for fault in FAULTS)

app = command_line()


@app.command()
def rehearsal(
    *,
    only: Annotated[list[str] | None, typer.Option(help=f"Only this fault; repeatable. {NAMES}.")] = None,
    seconds: Annotated[float, typer.Option(min=1, help="Calm before and after each fault.")] = 10.0,
    rate: Annotated[float, typer.Option(min=1, help="Requests per second.")] = 40.0,
    out: Annotated[Path | None, typer.Option(help="Also write the table to this .md or .json file.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep logs, bundles and data, and print their folder.")] = False,
    seed: Annotated[int, typer.Option(help="Of the shop and of the requests.")] = 0,
) -> None:
    """Run three replicas behind HAProxy, Redis under Sentinel and Prometheus, and inject one fault after another.

    The table has a row per fault: requests, failures, events refused for now; p99 of reads before, during and after;
    how long callers noticed it; how long the recovery took; the proxy's retries; lost acknowledged events; the alerts
    that fired, and in brackets those that would have fired had it lasted.

    The exit status is 1 where a limit is broken, and the last lines name it. Needs no root, but HAProxy:
    apt-get install haproxy prometheus. Without Prometheus no alerts are shown.

    Example: python -m loadtests.rehearsal --only kill-9 --only freeze --seconds 5 --keep
    """
    end_by_signals()
    console = Console()
    faults = chosen(only or [])
    require("haproxy")
    if out is not None:
        check_writable(out)
    if find_program("prometheus") is None:
        console.print("Prometheus is not installed (apt-get install prometheus): no alerts will be shown.")
    outcomes: list[Outcome] = []
    with working_folder(console, keep=keep) as folder:
        rng = np.random.default_rng(seed)
        with console.status("making a shop and training three bundles"):
            shop, spare = make_shop(folder, rng)
        with console.status("starting replicas, Redis, proxy") as status, running(shop, folder) as deployment:
            mix = requests(folder.name, rng)
            with BackgroundLoad(deployment.port, rate, mix, np.random.default_rng(seed)) as load:
                status.update(f"{faults[0].name}: {faults[0].description}")
                for done, outcome in enumerate(run_faults(deployment, load, faults, spare, seconds), start=1):
                    outcomes.append(outcome)
                    console.print(line(outcome), highlight=False)
                    if done < len(faults):
                        status.update(f"{faults[done].name}: {faults[done].description}")
    report(Console(width=max(console.width, 150)), outcomes, out)


def chosen(only: Sequence[str]) -> list[Fault]:
    """Return the faults of these names in our order, or all where no name is given."""
    unknown = sorted(set(only) - {fault.name for fault in FAULTS})
    if unknown:
        raise InputError(f"--only {unknown[0]}: expected one of {NAMES}")
    return [fault for fault in FAULTS if not only or fault.name in only]


@contextmanager
def working_folder(console: Console, *, keep: bool) -> Iterator[Path]:
    """Yield a temporary folder for all files; with `keep` it stays and is printed."""
    folder = Path(tempfile.mkdtemp(prefix="rehearsal-"))
    try:
        yield folder
    finally:
        if keep:
            console.print(f"logs and data: {folder}", highlight=False)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def make_shop(folder: Path, rng: np.random.Generator) -> tuple[SampleShop, SpareBundles]:
    """Make a shop with a published bundle, and two bundles that are not published."""
    shop = create_shop(folder / "shop", rng)
    shop.publish(shop.trained(folder / "first"))
    return shop, SpareBundles(shop.trained(folder / "better", LONGER), shop.trained(folder / "untrained", UNTRAINED))


def line(outcome: Outcome) -> str:
    """Return a line of progress about one fault."""
    mark = "[red]BROKEN[/]" if outcome.broken else "[green]kept[/]"
    return f"{mark} {outcome.fault}: {outcome.seen.requests} requests, {outcome.seen.failures} failed"


def report(console: Console, outcomes: Sequence[Outcome], out: Path | None) -> None:
    """Print the table, write it, and exit with 1 where a limit is broken."""
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
