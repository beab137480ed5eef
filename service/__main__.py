"""The command line of the service: `python -m service`."""

import asyncio
import faulthandler
import gc
import json
import os
import socket
import sys
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import structlog
import typer
from fastapi import FastAPI

from index.cli import command_line, run_cli
from index.errors import InputError
from service.app import create_app
from service.batch.lists import ListOptions
from service.batch.progress import shown_progress
from service.batch.run import RunRequest, make_lists
from service.bundles.open_published import open_published
from service.errors import InvalidRequestError
from service.events.export import export_all
from service.events.open_log import check_log
from service.experiments.experiments_file import read_experiment
from service.hidden.sqlite_store import SqliteHiddenItems
from service.http.security.keys import new_key as make_key
from service.http.server import Server, make_server, worker_listeners
from service.http.start_entry import start_entry
from service.items.export import export_all as export_all_items
from service.items.open_store import check_store
from service.live import CONTROL_FILE, PEOPLE_FILE
from service.people.forgotten_set import TABLE
from service.principal import Role
from service.ranking.constraints import Filters
from service.ranking.filters.parsing import parse_filter
from service.ranking.rules import requirements
from service.ranking.rules_file import check_rules
from service.redis.check import check_redis
from service.retrain.open_retraining import check_launcher
from service.settings import Settings, load_settings
from service.settings_page import settings_page
from service.telemetry.logs import configure_logging
from service.workers.supervisor import run_workers
from service.workers.worker import Worker, share_of

log = structlog.get_logger()

THREAD_SWITCH_S = 0.0005  # the event loop waits so long for a thread that computes; Python's 5 ms are felt

app = command_line(
    "Serve the published bundle over HTTP. Settings are RECO_* environment variables, listed by `settings`."
)


@app.command()
def run(
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="processes that serve the port together [default: RECO_WORKERS]")
    ] = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then finish the requests in flight.

    With several workers one process supervises the others, restarts one that ends, and serves nothing itself.
    """
    settings = load_settings()
    n_workers = settings.workers if workers is None else workers
    configure_logging(settings.log_level)
    sys.setswitchinterval(THREAD_SWITCH_S)
    faulthandler.enable()  # a truncated memory-mapped file kills the process: this prints where
    check_redis(settings)
    check_log(settings)
    check_store(settings)
    SqliteHiddenItems(settings.data_folder / CONTROL_FILE)  # InputError where the file is wrong
    SqliteHiddenItems(settings.data_folder / PEOPLE_FILE, TABLE)
    if n_workers == 1:
        _serve(settings)
        return
    listeners = worker_listeners(settings, n_workers)
    gc.freeze()  # a collection in a worker would copy the pages that it shares with the others
    stop_s = settings.drain_delay_s + settings.drain_s
    sys.exit(run_workers(partial(_serve_as_worker, settings), listeners, stop_s=stop_s))


def _serve(settings: Settings) -> None:
    # Objects made by then live to the end: a garbage collection over them delayed responses by 0.1 s.
    def on_listening() -> None:
        gc.freeze()
        _log_start(server, settings, n_workers=1)

    server = make_server(_app(settings), settings, on_listening=on_listening)
    server.run()
    if not server.started:
        sys.exit(1)


def _serve_as_worker(settings: Settings, worker: Worker, sockets: list[socket.socket]) -> None:
    configure_logging(settings.log_level, worker=worker.number)
    own = share_of(settings, worker.n_workers, worker.number)

    def on_listening() -> None:
        gc.freeze()
        worker.memory.table.show_ready(worker.number, ready=True, now=time.monotonic())
        if worker.number == 0:  # one entry for all
            _log_start(server, settings, worker.n_workers)

    server = make_server(_app(own, worker), own, on_listening=on_listening)
    server.run(sockets)
    if not server.started:
        sys.exit(1)


def _log_start(server: Server, settings: Settings, n_workers: int) -> None:
    if server.served is not None and server.port is not None:
        log.info("serving", **start_entry(settings, server.served, server.port, n_workers))


def _app(settings: Settings, worker: Worker | None = None) -> FastAPI:
    """A function of its own, so that no local variable of its callers keeps the first bundle open after a swap."""
    opened = open_published(settings)
    check_rules(settings, opened.bundle)
    check_launcher(settings)
    if settings.experiments_file is not None:
        read_experiment(settings.experiments_file)  # InputError where it is invalid
    return create_app(settings, opened=opened, worker=worker)


@app.command()
def new_key(
    name: Annotated[str, typer.Argument(help="name of the key's owner: letters, digits and . _ -")],
    role: Annotated[Role, typer.Option(help="what the key may do; each role includes those before it")],
    expires: Annotated[datetime | None, typer.Option(help="when the key expires (UTC)")] = None,
) -> None:
    """Make an API key: print the key to standard error, once, and its line for the file to standard output.

    `python -m service new-key shop --role read >> keys.jsonl` adds it to the file that RECO_API_KEYS_FILE names.
    """
    key, line = make_key(name, role, None if expires is None else expires.replace(tzinfo=UTC))
    typer.echo(f"the key of {name}, shown only now: {key}", err=True)
    typer.echo(line)


@app.command()
def export_events(
    out: Annotated[Path, typer.Option(help="Parquet file to write; it is created atomically")],
    after: Annotated[
        int, typer.Option(min=0, help="export events after this position: the last_position of the previous export")
    ] = 0,
) -> None:
    """Export the event log as Parquet, for training, whether or not a service is running.

    Exported events may later be removed from the log (RECO_EVENT_RETENTION_DAYS, RECO_EVENTS_KEPT). The line on
    standard output has the number of events in the file, their last position, and how many entries of the log were
    skipped because they are no events.
    """
    settings = load_settings()
    configure_logging(settings.log_level)
    exported = asyncio.run(export_all(settings, out, after))
    if exported.unreadable:
        typer.echo(f"warning: skipped {exported.unreadable} entries of the log that are no events", err=True)
    typer.echo(json.dumps({"file": str(out), **exported._asdict()}))


@app.command()
def batch(
    *,
    users: Annotated[str, typer.Option(help="Parquet file with a column user_id, or `all`: every trained user")],
    out: Annotated[Path, typer.Option(help="Parquet file to write; it is created atomically")],
    k: Annotated[int, typer.Option(help="items of each list")] = 20,
    exclude_seen: Annotated[bool, typer.Option(help="leave out what the user has interacted with")] = True,
    filter_text: Annotated[
        str | None, typer.Option("--filter", help="only items that pass: 'price < 50 and stock > 0' (docs/filters.md)")
    ] = None,
    category: Annotated[list[str] | None, typer.Option(help="only these categories; may be repeated")] = None,
    require: Annotated[list[str] | None, typer.Option(help="only items with name:value; may be repeated")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="item ids to leave out; may be repeated")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="processes [default: as many as usable cores]")
    ] = None,
) -> None:
    """Write everybody's lists, as GET /recommend would answer them, into one Parquet file (docs/batch.md).

    Rules, hidden items and events are those of the service with the same settings, whether or not it is running. A run
    that was interrupted goes on from the parts beside the file when the same command is given again.
    """
    settings = load_settings()
    configure_logging(settings.log_level)
    try:
        required, chosen = tuple(requirements(require or ())), parse_filter(filter_text) if filter_text else None
    except InvalidRequestError as error:
        raise InputError(error.detail) from None
    options = ListOptions(k, exclude_seen, Filters(tuple(category or ()), required, tuple(exclude or ()), chosen))
    request = RunRequest(users, out, options, workers or len(os.sched_getaffinity(0)))
    started = time.monotonic()
    with shown_progress() as show:
        made = asyncio.run(make_lists(settings, request, show, now=time.time()))
    for warning in made.warnings:
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(json.dumps({**made._asdict(), "seconds": round(time.monotonic() - started, 1)}))


@app.command()
def export_items(out: Annotated[Path, typer.Option(help="Parquet file to write; it is created atomically")]) -> None:
    """Export the stored items as Parquet, for training, whether or not a service is running.

    Each item is one row; of a deleted one only its id, and `deleted` is true. The line on standard output has the
    numbers of both, and the position of the last change.
    """
    settings = load_settings()
    configure_logging(settings.log_level)
    exported = asyncio.run(export_all_items(settings, out))
    typer.echo(json.dumps({"file": str(out), **exported._asdict()}))


@app.command()
def settings() -> None:
    """Print every setting, its default and its meaning: the page docs/settings.md."""
    typer.echo(settings_page())


@app.command()
def openapi() -> None:
    """Print the OpenAPI document, as GET /openapi.json responds it, without starting a service."""
    typer.echo(json.dumps(create_app(Settings.model_validate({"registry": ".", "console": False})).openapi(), indent=1))


if __name__ == "__main__":
    run_cli(app)
