"""`python -m loadtests.check_alerts`: check rules and dashboards with promtool and with a real Prometheus."""

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
from deploy.prometheus_server import CONFIG, program, prometheus, query
from deploy.promql import selectors
from deploy.rule_files import FOLDER, Rule, rules
from index.cli import command_line, run_cli
from index.errors import InputError
from loadtests.alert_triggers import FIRING, PENDING, TriggerServices, trigger_services

RULE_TESTS = Path("tests/deploy/rules")
TIMEOUT_S = 30.0  # from an incident until its alert
POLL_S = 0.5
GRAFANA_VARIABLES = {"$__rate_interval": "1m", "$namespace": ".*"}

CheckLine = tuple[str, bool, str]  # what is checked, whether it passes, what was found

app = command_line()


@app.command()
def check_alerts(
    *,
    seconds: Annotated[float, typer.Option(min=2, help="Duration of the load before and after the incidents.")] = 10.0,
    rate: Annotated[float, typer.Option(min=1, help="Requests per second to each of the two services.")] = 40.0,
) -> None:
    """Check `deploy/prometheus` and `deploy/grafana`; print a line for each rule and panel, exit with 1 if one fails.

    First promtool reads the rules and tests every alert on made-up series (tests/deploy/rules). Then two services,
    Redis and a real Prometheus with these rules are started, under a small load. A bundle that the gate refuses is
    published by force, a retraining fails and the rules file becomes invalid: these must raise alerts. Every rule must
    be evaluated without an error, and every query of every panel must return a value. It takes about two minutes.

    Needs Debian's package `prometheus` (apt-get install prometheus). Grafana itself is not run.
    """
    end_by_signals()
    program("prometheus")  # fails early where it is missing
    console = Console()
    failed = [report(console, line) for line in chain(promtool_checks(), live_checks(seconds, rate))].count(False)
    console.print("all hold" if not failed else f"{failed} do not hold", style="bold")
    raise typer.Exit(1 if failed else 0)


def report(console: Console, line: CheckLine) -> bool:
    """Print one line and return whether the check passed."""
    what, passed, found = line
    console.print("[green]ok[/]" if passed else "[red]FAILED[/]", end=" ")
    console.print(f"{what}: {found}", markup=False, highlight=False, soft_wrap=True)
    return passed


def promtool_checks() -> Iterator[CheckLine]:
    """Check the configuration and run each file of rule tests with promtool."""
    if not RULE_TESTS.is_dir():
        raise InputError(f"there is no {RULE_TESTS}: run this from the root of the repository")
    yield _promtool("check", "config", "--lint=all", "--lint-fatal", str(FOLDER / CONFIG))
    for path in sorted(RULE_TESTS.glob("*.yml")):
        yield _promtool("test", "rules", str(path))


def _promtool(*arguments: str) -> CheckLine:
    done = subprocess.run([program("promtool"), *arguments], capture_output=True, text=True, check=False)
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    passed = done.returncode == 0
    return f"promtool {' '.join(arguments)}", passed, lines[-1] if passed else " ".join(lines)


def live_checks(seconds: float, rate: float) -> Iterator[CheckLine]:
    """Check every rule and every panel in a real Prometheus that scrapes two real services."""
    with trigger_services() as running, prometheus([one.port for one in running.services]) as client:
        _cause_incidents(running, seconds, rate)
        states = _alert_states(client)
        for rule in rules():
            yield _alert(client, rule, states) if rule.alerts else _recording(client, rule)
        for where, expression in queries():
            yield f"panel {where}", *_check_query(client, _without_variables(expression))


def _cause_incidents(running: TriggerServices, seconds: float, rate: float) -> None:
    running.send_load(rate, seconds, seed=1)
    running.trigger()
    running.send_load(rate, seconds, seed=2)


def alerts(client: httpx.Client) -> dict[str, tuple[str, str]]:
    """Return the state and the evaluation error of each alert, by its name."""
    content = client.get("/api/v1/rules", params={"type": "alert"}).raise_for_status().json()
    groups = content["data"]["groups"]
    return {rule["name"]: (rule["state"], rule.get("lastError", "")) for group in groups for rule in group["rules"]}


def _alert_states(client: httpx.Client) -> dict[str, tuple[str, str]]:
    """Poll the alerts until those of the incidents are raised, or the time is over."""
    end = time.monotonic() + TIMEOUT_S
    while not _as_expected(states := alerts(client)) and time.monotonic() < end:
        time.sleep(POLL_S)
    return states


def _as_expected(states: dict[str, tuple[str, str]]) -> bool:
    return all(_is_expected(name, state) for name, (state, _) in states.items())


def _is_expected(name: str, state: str) -> bool:
    if name in FIRING:
        return state == "firing"
    return state in ("pending", "firing") if name in PENDING else True


def _alert(client: httpx.Client, rule: Rule, states: dict[str, tuple[str, str]]) -> CheckLine:
    """Check that an alert is evaluated without an error, has data, and is raised where an incident requires it."""
    state, error = states[rule.name]
    empty = [one.text for one in selectors(rule.expr) if not query(client, one.text)]
    found = error or (f"no series for {', '.join(empty)}" if empty else state)
    return str(rule), not error and not empty and _is_expected(rule.name, state), found


def _recording(client: httpx.Client, rule: Rule) -> CheckLine:
    labels = ", ".join(f'{name}="{value}"' for name, value in rule.labels.items())
    return str(rule), *_check_query(client, f"{rule.name}{{{labels}}}")


def _without_variables(expression: str) -> str:
    for variable, value in GRAFANA_VARIABLES.items():
        expression = expression.replace(variable, value)
    return expression


def _check_query(client: httpx.Client, expression: str) -> tuple[bool, str]:
    """Return whether any series has a number, and how many have one."""
    values = [value for _, value in query(client, expression) if not math.isnan(value)]
    if not values:
        return False, f"no series for {expression}"
    return True, f"{len(values)} series, {min(values):.4g} to {max(values):.4g}"


if __name__ == "__main__":
    run_cli(app)
