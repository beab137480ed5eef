"""`python -m service`: the command line of the service."""

import asyncio
import faulthandler
import gc
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from fastapi import FastAPI

from index.cli import command_line, run_cli
from service.app import create_app
from service.bundles.open_published import open_published
from service.events.export import export_all
from service.events.open_log import check_log
from service.http.security.keys import new_key as make_key
from service.http.server import make_server
from service.principal import Role
from service.ranking.rules_file import check_rules
from service.settings import Settings, load_settings
from service.settings_page import settings_page
from service.telemetry.logs import configure_logging

app = command_line("Answer HTTP from the published bundle. Settings come from RECO_* variables: see `settings`.")


@app.command()
def run() -> None:
    """Serve until SIGTERM or SIGINT, then let the requests in flight end."""
    settings = load_settings()
    configure_logging(settings.log_level)
    faulthandler.enable()  # a file cut short under a memory map ends the process: at least it says where
    check_log(settings)
    # What has been made by then stays to the end: a collection that walked through it held up answers for 0.1 s.
    server = make_server(_app(settings), settings, on_listening=gc.freeze)
    server.run()
    if not server.started:
        sys.exit(1)


def _app(settings: Settings) -> FastAPI:
    """The application over the published bundle. No name here outlives the call: the bundle must be free to go."""
    opened = open_published(settings)
    check_rules(settings, opened.bundle)
    return create_app(settings, opened=opened)


@app.command()
def new_key(
    name: Annotated[str, typer.Argument(help="who will hold the key: letters, digits and . _ -")],
    role: Annotated[Role, typer.Option(help="what it may do; each role may also do what those before it may")],
    expires: Annotated[datetime | None, typer.Option(help="when it stops being taken (UTC)")] = None,
) -> None:
    """Make an API key: the key itself goes to standard error, once; its line for the file to standard output.

    `python -m service new-key shop --role read >> keys.jsonl` adds it to the file that RECO_API_KEYS_FILE names.
    """
    key, line = make_key(name, role, None if expires is None else expires.replace(tzinfo=UTC))
    typer.echo(f"the key of {name}, shown only now: {key}", err=True)
    typer.echo(line)


@app.command()
def export_events(
    out: Annotated[Path, typer.Option(help="the Parquet file to write; it appears in one step, once it is whole")],
    after: Annotated[
        int, typer.Option(min=0, help="begin after this position: the last_position of the last export")
    ] = 0,
) -> None:
    """Write the event log as Parquet, for training, beside a service that runs or without one.

    Exported events may be removed from the log once they are old (RECO_EVENT_RETENTION_DAYS, RECO_EVENTS_KEPT). The
    line on standard output says how many events the file holds and up to which position.
    """
    exported = asyncio.run(export_all(load_settings(), out, after))
    typer.echo(json.dumps({"file": str(out), **exported._asdict()}))


@app.command()
def settings() -> None:
    """Show every setting, its default and its meaning, as the page docs/settings.md."""
    typer.echo(settings_page())


if __name__ == "__main__":
    run_cli(app)
