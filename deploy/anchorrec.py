"""The command `anchorrec`: the usual commands under one name; `python -m trainer`, `index` and `service` have all.

It imports what a command runs only when that runs: help answers at once, and a service without torch can ask and serve.
"""

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

MODULES = {
    "prepare": "trainer.__main__",
    "fit": "trainer.__main__",
    "compare": "trainer.__main__",
    "export": "trainer.__main__",
    "publish": "index.__main__",
}
FORWARDED = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
DEMO_FOLDER = Path("anchorrec-demo")
ABOUT_FIGURES = (
    "Higher is better. The figures differ a little between machines, as the search of settings is bounded by time."
)
INTERRUPTED = 130  # exit status, as shells have it

app = typer.Typer(
    help="Recommendations that explain themselves: try it with **demo**; with your own data **prepare**, **fit**, "
    "**export**, **publish**, **serve** and **ask**.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


@app.command()
def demo(
    folder: Annotated[
        Path, typer.Option(help="Where data, models and bundles are kept; what is there is reused.")
    ] = DEMO_FOLDER,
    port: Annotated[int, typer.Option(help="Port of the service; --check uses a free port instead.")] = 8000,
    model: Annotated[
        str, typer.Option(help="What is served: anchorease, anchorrec, smore, lightgcn or another.")
    ] = "anchorease",
    *,
    check: Annotated[bool, typer.Option("--check", help="Check the responses and exit with 0 or 1.")] = False,
    serve: Annotated[bool, typer.Option(help="Serve when all is made.")] = True,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show all that the steps write, and the whole responses.")
    ] = False,
) -> None:
    """Make data, train, publish and serve on this machine: about two minutes on two cores; Ctrl-C and it resumes."""
    try:
        from rich.console import Console

        from deploy.demo import Demo, serve_demo
        from deploy.demo_steps import DemoFolder, make_demo
        from deploy.processes import check_free, end_by_signals

        end_by_signals()
        if serve and not check:
            check_free(port)  # before minutes of work
        made = DemoFolder(folder, model)
        make_demo(made, Console(stderr=True), verbose=verbose)
        if serve:
            log = None if verbose else made.log
            paths = made.bundles, port, made.figures, made.images, made.shop
            serve_demo(Demo(*paths, model, verbose, ABOUT_FIGURES, log), check=check)
    except KeyboardInterrupt:
        print("\nstopped; `make demo`, or the same `anchorrec demo`, goes on from here", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None


@app.command()
def serve(
    registry: Annotated[str | None, typer.Option(help="Folder or bucket of bundles. [default: RECO_REGISTRY]")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on. [default: RECO_PORT, or 8000]")] = None,
    images: Annotated[str | None, typer.Option(help="Folder of the items' pictures. [default: RECO_IMAGES]")] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=256, help="Processes. [default: RECO_WORKERS]")] = None,
) -> None:
    """Serve the published bundle over HTTP until Ctrl-C; other settings are RECO_* variables (docs/settings.md)."""
    for name, value in {"REGISTRY": registry, "PORT": port, "IMAGES": images, "WORKERS": workers}.items():
        if value is not None:
            os.environ[f"RECO_{name}"] = str(value)
    _hand_on("service.__main__", ["run"])


@app.command(context_settings=FORWARDED, add_help_option=False)
def prepare(context: typer.Context) -> None:
    """Turn interactions, texts and images into a data folder: `prepare shop` draws one, `prepare table` reads yours."""
    _hand_on_command(context)


@app.command(context_settings=FORWARDED, add_help_option=False)
def fit(context: typer.Context) -> None:
    """Train one model on a data folder and measure it."""
    _hand_on_command(context)


@app.command(context_settings=FORWARDED, add_help_option=False)
def compare(context: typer.Context) -> None:
    """Train several models into one table and test the differences."""
    _hand_on_command(context)


@app.command(context_settings=FORWARDED, add_help_option=False)
def export(context: typer.Context) -> None:
    """Write a trained model as a bundle that can be served."""
    _hand_on_command(context)


@app.command(context_settings=FORWARDED, add_help_option=False)
def publish(context: typer.Context) -> None:
    """Let a bundle serve, if the gate passes it."""
    _hand_on_command(context)


@app.command(context_settings=FORWARDED, add_help_option=False)
def ask(context: typer.Context) -> None:
    """Ask a running service: `ask recommend u1`, `ask similar ITEM`, `ask item ITEM`, `ask user U`, `ask ready`."""
    _hand_on("deploy.ask", context.args, prog_name="anchorrec ask")


def _hand_on_command(context: typer.Context) -> None:
    name = str(context.info_name)
    _hand_on(MODULES[name], [name, *context.args])


def _hand_on(module: str, arguments: list[str], prog_name: str = "anchorrec") -> None:
    commands: Any = import_module(module).app
    commands(args=arguments, prog_name=prog_name)


def main() -> None:
    """Run the command line; wrong input, and a package that is missing, are one line and exit status 2."""
    try:
        app()
    except ImportError as error:
        from index.extras import missing_package

        entry = MODULES.get(sys.argv[1] if sys.argv[1:] else "", "").partition(".")[0]
        problem = missing_package(error, entry or "anchorrec")
        if problem is None:
            raise
        _fail(problem)
    except (ValueError, OSError) as error:
        from index.errors import InputError

        if not isinstance(error, (InputError, OSError)):
            raise
        _fail(str(error))


def _fail(problem: str) -> None:
    print(f"error: {problem}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
