"""`python -m loadtests.check_alerts`: rules and dashboards against Prometheus' own tools and a real Prometheus."""

import math
import subprocess
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.console import Console

from deploy.dashboards import queries
from deploy.processes import end_by_signals
from deploy.prometheus_server import CONFIG, ask, program, prometheus
from deploy.rule_files import FOLDER, Rule, asked, rules
from index.cli import command_line, run_cli
from index.errors import InputError
from loadtests.alert_triggers import FIRING, PENDING, AlertTriggers, services_with_triggers

TRIED = Path("tests/deploy/rules")
PATIENCE_S = 30.0  # from what happens until it is told
LOOK_S = 0.5
OURS = {"$__rate_interval": "1m", "$namespace": ".*"}  # what Grafana would put in

Line = tuple[str, bool, str]  # what is checked, whether it holds, what was found

app = command_line()


@app.command()
def check_alerts(
    *,
    seconds: Annotated[float, typer.Option(min=2, help="Of load, before and after things happen.")] = 10.0,
    rate: Annotated[float, typer.Option(min=1, help="Requests a second to each of the two services.")] = 40.0,
) -> None:
    """Check `deploy/prometheus` and `deploy/grafana`; print a line for each rule and panel, exit with 1 if one fails.

    First promtool reads the rules and tries every alert on made-up series (tests/deploy/rules). Then two services,
    Redis and a real Prometheus with these rules are started, under a little load. A bundle that the gate refuses is
    published by force, a retraining fails, a file of rules becomes wrong: that must be told. Every rule must be
    evaluated without an error and every query of every panel must find something. It takes about two minutes.

    Needs Debian's package `prometheus` (apt-get install prometheus). Grafana itself is not looked at.
    """
    end_by_signals()
    program("prometheus")  # before minutes are spent
    console = Console()
    failed = [told(console, line) for line in chain(tried(), watched(seconds, rate))].count(False)
    console.print("all hold" if not failed else f"{failed} do not hold", style="bold")
    raise typer.Exit(1 if failed else 0)


def told(console: Console, line: Line) -> bool:
    """Print one line; whether it holds."""
    said, holds, found = line
    mark = "[green]ok[/]" if holds else "[red]FAILED[/]"
    console.print(mark, end=" ")
    console.print(f"{said}: {found}", markup=False, highlight=False, soft_wrap=True)
    return holds


def tried() -> Iterator[Line]:
    """What promtool says of the configuration, and of each file of tests."""
    if not TRIED.is_dir():
        raise InputError(f"there is no {TRIED}: run this from the root of the repository")
    yield _promtool("check", "config", "--lint=all", "--lint-fatal", str(FOLDER / CONFIG))
    for path in sorted(TRIED.glob("*.yml")):
        yield _promtool("test", "rules", str(path))


def _promtool(*arguments: str) -> Line:
    done = subprocess.run([program("promtool"), *arguments], capture_output=True, text=True, check=False)
    said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return f"promtool {' '.join(arguments)}", done.returncode == 0, said[-1] if done.returncode == 0 else " ".join(said)


def watched(seconds: float, rate: float) -> Iterator[Line]:
    """What a real Prometheus makes of two real services."""
    with services_with_triggers() as world, prometheus([one.port for one in world.services]) as client:
        _live(world, seconds, rate)
        states = _settled(client)
        for rule in rules():
            yield _alert(client, rule, states) if rule.alerts else _recording(client, rule)
        for where, query in queries():
            yield f"panel {where}", *_found(client, _filled(query))


def _live(world: AlertTriggers, seconds: float, rate: float) -> None:
    world.load(rate, seconds, seed=1)
    world.provoke()
    world.load(rate, seconds, seed=2)


def alerts(client: httpx.Client) -> dict[str, tuple[str, str]]:
    """By the name of the alert: its state, and the error of its evaluation."""
    answer = client.get("/api/v1/rules", params={"type": "alert"}).raise_for_status().json()
    groups = answer["data"]["groups"]
    return {rule["name"]: (rule["state"], rule.get("lastError", "")) for group in groups for rule in group["rules"]}


def _settled(client: httpx.Client) -> dict[str, tuple[str, str]]:
    """The alerts once what was provoked is told, or when it was waited for long enough."""
    end = time.monotonic() + PATIENCE_S
    while not _as_expected(states := alerts(client)) and time.monotonic() < end:
        time.sleep(LOOK_S)
    return states


def _as_expected(states: dict[str, tuple[str, str]]) -> bool:
    return all(_state_holds(name, state) for name, (state, _) in states.items())


def _state_holds(name: str, state: str) -> bool:
    if name in FIRING:
        return state == "firing"
    return state in ("pending", "firing") if name in PENDING else True


def _alert(client: httpx.Client, rule: Rule, states: dict[str, tuple[str, str]]) -> Line:
    """It is evaluated, has its series to look at, and tells what was provoked."""
    state, error = states[rule.name]
    empty = [one.selector for one in asked(rule.expr) if not ask(client, one.selector)]
    found = error or (f"nothing has {', '.join(empty)}" if empty else state)
    return str(rule), not error and not empty and _state_holds(rule.name, state), found


def _recording(client: httpx.Client, rule: Rule) -> Line:
    labels = ", ".join(f'{name}="{value}"' for name, value in rule.labels.items())
    return str(rule), *_found(client, f"{rule.name}{{{labels}}}")


def _filled(query: str) -> str:
    for variable, value in OURS.items():
        query = query.replace(variable, value)
    return query


def _found(client: httpx.Client, query: str) -> tuple[bool, str]:
    """Whether any series has a number, and how many have."""
    values = [value for _, value in ask(client, query) if not math.isnan(value)]
    if not values:
        return False, f"nothing has {query}"
    return True, f"{len(values)} series, {min(values):.4g} to {max(values):.4g}"


if __name__ == "__main__":
    run_cli(app)
