"""`python -m benchmarks.experiments`: simulate experiments, look at them daily, count false alarms and found lifts."""

import json
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress

from benchmarks.experiments.looks import Looks, look_daily, warns_of_shares
from benchmarks.experiments.report import summary, tables
from benchmarks.experiments.traffic import Traffic
from deploy.processes import end_by_signals
from index.cli import command_line, run_cli

LIFTS = 0.02, 0.05, 0.1, 0.2
SHARES = 0.495, 0.49, 0.48  # of users in control, where there should be half

app = command_line()


@app.command()
def experiments(
    *,
    runs: Annotated[int, typer.Option(min=1, help="Simulated experiments without a difference.")] = 1000,
    power_runs: Annotated[int, typer.Option(min=0, help="Simulated experiments of each true lift.")] = 200,
    users: Annotated[int, typer.Option(min=200, help="Of one experiment, in both arms.")] = 50_000,
    days: Annotated[int, typer.Option(min=1, help="Over which users arrive; one look a day.")] = 30,
    control: Annotated[float, typer.Option(min=1, max=99, help="Percent of the users in control.")] = 50.0,
    expected_lift: Annotated[float, typer.Option(min=0.001, max=10, help="Of the tests, relative.")] = 0.1,
    returning: Annotated[bool, typer.Option("--returning/--once", help="Whether users come back.")] = True,
    seed: Annotated[int, typer.Option(min=0, help="Of the simulation.")] = 0,
) -> None:
    """Print the share of experiments that daily looks call different, without a difference and with known lifts.

    Example: python -m benchmarks.experiments --control 90
    """
    end_by_signals()
    weights = control / 100, 1 - control / 100
    plans = [(0.0, runs), *((lift, power_runs) for lift in LIFTS if power_runs)]
    found: dict[float, list[Looks]] = {}
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=sum(count for _, count in plans))
        for number, (lift, count) in enumerate(plans):
            progress.update(task, description=f"true lift {lift:.0%}")
            traffic = Traffic(users, days, weights, lift, returning)
            found[lift] = []
            for run in range(count):
                rng = np.random.default_rng([seed, number, run])
                found[lift].append(look_daily(traffic, rng, expected_lift=expected_lift))
                progress.advance(task)
    record = summary(found)
    if power_runs:
        rng = np.random.default_rng(seed)
        record["shares_warned_of"] = {
            f"{share:g}": sum(warns_of_shares(users, days, share, rng) for _ in range(power_runs)) / power_runs
            for share in SHARES
        }
    for table in tables(record):
        Console().print(table)
    plan = {"users": users, "days": days, "returning": returning, "control": control, "expected_lift": expected_lift}
    typer.echo(json.dumps(plan | record))


if __name__ == "__main__":
    run_cli(app)
