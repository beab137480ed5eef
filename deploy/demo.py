"""`python -m deploy.demo`: start Redis and the service on a published bundle and show three example requests."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.console import Console

from deploy.check_service import (
    CHECKS,
    Check,
    CheckedService,
    examples,
    picture_of_an_item,
    pictures,
    print_results,
    run_checks,
)
from deploy.model_comparison import MetricsByModel, compare_with_baselines, comparison_table, read_comparison
from deploy.processes import end_by_signals, free_port, stack, until_interrupted
from index.bundle import Bundle, open_bundle
from index.cli import command_line, run_cli
from index.registry import Registry

OWN_MODEL = "anchorease"
"""The model that must be clearly better than the others; any other may be served too."""

app = command_line()


@app.command()
def demo(
    registry: Annotated[Path, typer.Option(help="Folder of published bundles.")],
    port: Annotated[int, typer.Option(help="Port of the service; --check uses a free port instead.")] = 8000,
    figures: Annotated[Path | None, typer.Option(help="comparison.json of `trainer compare`, to be shown.")] = None,
    images: Annotated[Path | None, typer.Option(help="Folder of the items' pictures, to be served.")] = None,
    model: Annotated[str, typer.Option(help="The name in FIGURES of the model that is served.")] = OWN_MODEL,
    *,
    check: Annotated[bool, typer.Option("--check", help="Check the responses and exit with 0 or 1.")] = False,
) -> None:
    """Start a real Redis and the service, show three requests with their responses, and serve until Ctrl-C."""
    end_by_signals()
    console = Console()
    # The service verifies the checksums when it opens the bundle.
    bundle = open_bundle(Registry(registry).current(), verify=False)
    comparison = read_comparison(figures) if figures else None
    checks = CHECKS if images is None else (*CHECKS, pictures)
    with stack(registry, free_port() if check else port, images) as client:
        show_examples(console, bundle, client)
        if images is not None:
            console.print(f"A picture: {client.base_url}{picture_of_an_item(CheckedService(client, bundle))}")
        if comparison:
            console.print(comparison_table(comparison))
        if check:
            sys.exit(0 if passes(console, CheckedService(client, bundle), comparison, model, checks) else 1)
        console.print(
            f"\nServing on {client.base_url}: /docs describes every endpoint. Ctrl-C stops Redis and the service."
        )
        until_interrupted()
    console.print("Stopped.")


def show_examples(console: Console, bundle: Bundle, client: httpx.Client) -> None:
    """Send the example requests and print the responses."""
    for path in examples(bundle, client):
        response = client.get(path)
        console.rule(f"GET {client.base_url}{path}", align="left")
        console.print_json(response.text)
        console.print(f"{response.status_code}; {response.headers['server-timing']}", style="dim", highlight=False)


def passes(
    console: Console,
    service: CheckedService,
    comparison: MetricsByModel | None,
    model: str,
    checks: Sequence[Check] = CHECKS,
) -> bool:
    """Run the checks of the service and of the comparison, print the results, and return whether all passed."""
    results = list(run_checks(service, checks))
    if comparison and model == OWN_MODEL:
        results.append(
            ("The served model is clearly better than the simpler ones.", *compare_with_baselines(comparison, model))
        )
    return print_results(console, results)


if __name__ == "__main__":
    run_cli(app)
