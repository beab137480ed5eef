"""`python -m deploy.demo`: start Redis and the service on a published bundle and show three example requests."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deploy.check_service import (
    CHECKS,
    Check,
    CheckedService,
    picture_of_an_item,
    pictures,
    print_results,
    run_checks,
)
from deploy.demo_shown import show_addresses, show_examples, show_questions
from deploy.model_comparison import MetricsByModel, compare_with_baselines, comparison_table, read_comparison
from deploy.processes import end_by_signals, free_port, stack, until_interrupted
from index.bundle import open_bundle
from index.cli import command_line, run_cli
from index.registry import Registry

OWN_MODEL = "anchorease"
"""The model that must be clearly better than the others; any other may be served too."""

app = command_line()


@dataclass(frozen=True)
class Demo:
    """What is served, and what is shown of it."""

    registry: Path
    port: int = 8000
    figures: Path | None = None
    images: Path | None = None
    retrain_data: Path | None = None
    model: str = OWN_MODEL
    verbose: bool = False
    about_figures: str = ""
    log: Path | None = None

    def settings(self) -> dict[str, str]:
        """Of a service that answers this machine alone, with data that were drawn: so everybody may do anything."""
        given = {"RECO_ADMIN_OPEN": "true", "RECO_LOG_IMPRESSIONS": "true"}
        return given | ({"RECO_RETRAIN_DATA": str(self.retrain_data)} if self.retrain_data else {})


@app.command()
def demo(
    *,
    registry: Annotated[Path, typer.Option(help="Folder of published bundles.")],
    port: Annotated[int, typer.Option(help="Port of the service; --check uses a free port instead.")] = 8000,
    figures: Annotated[Path | None, typer.Option(help="comparison.json of `trainer compare`, to be shown.")] = None,
    images: Annotated[Path | None, typer.Option(help="Folder of the items' pictures, to be served.")] = None,
    retrain_data: Annotated[
        Path | None, typer.Option(help="Dataset that the service may retrain on, as from the console.")
    ] = None,
    model: Annotated[str, typer.Option(help="The name in FIGURES of the model that is served.")] = OWN_MODEL,
    check: Annotated[bool, typer.Option("--check", help="Check the responses and exit with 0 or 1.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show the whole responses, as --check does.")] = False,
) -> None:
    """Start a real Redis and the service, show three requests with their responses, and serve until Ctrl-C."""
    serve_demo(Demo(registry, port, figures, images, retrain_data, model, verbose), check=check)


def serve_demo(shown: Demo, *, check: bool) -> None:
    """Serve until Ctrl-C; with `check`, on a free port, until the checks are done: then exit with their result."""
    end_by_signals()
    console = Console()
    # The service verifies the checksums when it opens the bundle.
    bundle = open_bundle(Registry(shown.registry).current(), verify=False)
    comparison = read_comparison(shown.figures) if shown.figures else None
    checks = CHECKS if shown.images is None else (*CHECKS, pictures)
    port = free_port() if check else shown.port
    with stack(shown.registry, port, shown.images, shown.settings()) as client:
        show_examples(console, bundle, client, whole=check or shown.verbose)
        if shown.images is not None:
            picture = f"A picture: {client.base_url}{picture_of_an_item(CheckedService(client, bundle))}"
            console.print(picture, highlight=False, soft_wrap=True)
        if comparison:
            console.print(comparison_table(comparison))
            if shown.about_figures:
                console.print(shown.about_figures, style="dim", soft_wrap=True)
        show_addresses(console, client)
        show_questions(console, shown.registry, bundle, client)
        console.rule()
        if shown.log is not None and shown.log.exists():
            console.print(f"What the steps wrote is in {shown.log}", highlight=False, soft_wrap=True)
        if check:
            sys.exit(0 if passes(console, CheckedService(client, bundle), comparison, shown.model, checks) else 1)
        console.print(
            f"Serving on {client.base_url} to this machine alone, without keys. Ctrl-C stops Redis and the service.",
            soft_wrap=True,
        )
        until_interrupted()
    console.print("Stopped.")


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
