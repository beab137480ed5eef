"""`python -m deploy.demo`: Redis and the service on a published bundle, three calls answered, then serving."""

import sys
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.console import Console

from deploy.checks import World, examples, run_checks
from deploy.figures import Figures, beaten_clearly, figures_table, read_figures
from deploy.processes import end_by_signals, free_port, stack, until_interrupted
from index.bundle import Bundle, open_bundle
from index.cli import command_line, run_cli
from index.registry import Registry

app = command_line()


@app.command()
def demo(
    registry: Annotated[Path, typer.Option(help="Folder of published bundles.")],
    port: Annotated[int, typer.Option(help="Port of the service; with --check a free one is taken.")] = 8000,
    figures: Annotated[Path | None, typer.Option(help="comparison.json of `trainer compare`, to be shown.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Ask, check what came, and exit with 0 or 1.")] = False,
) -> None:
    """Start a real Redis and the service, show three calls with their answers, and keep serving until Ctrl-C."""
    end_by_signals()
    console = Console()
    # The service verifies the sums when it opens the bundle; here it is only looked into.
    bundle = open_bundle(Registry(registry).current(), verify=False)
    compared = read_figures(figures) if figures else None
    with stack(registry, free_port() if check else port) as client:
        show(console, bundle, client)
        if compared:
            console.print(figures_table(compared))
        if check:
            sys.exit(0 if checked(console, World(client, bundle), compared) else 1)
        console.print(
            f"\nServing on {client.base_url}: /docs describes every call. Ctrl-C stops Redis and the service."
        )
        until_interrupted()
    console.print("Stopped.")


def show(console: Console, bundle: Bundle, client: httpx.Client) -> None:
    """Print the example calls and what they answer."""
    for path in examples(bundle, client):
        response = client.get(path)
        console.rule(f"GET {client.base_url}{path}", align="left")
        console.print_json(response.text)
        console.print(f"{response.status_code}; {response.headers['server-timing']}", style="dim", highlight=False)


def checked(console: Console, world: World, compared: Figures | None) -> bool:
    """Print each check with what was found; whether all hold."""
    results = list(run_checks(world))
    if compared:
        results.append(("The served model beats the simpler ones clearly.", *beaten_clearly(compared)))
    for said, holds, found in results:
        mark = "[green]ok[/]" if holds else "[red]FAILED[/]"
        console.print(mark, said, style="bold", highlight=False)
        console.print(f"   {found}", markup=False, highlight=False)
    return all(holds for _, holds, _ in results)


if __name__ == "__main__":
    run_cli(app)
