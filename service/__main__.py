"""`python -m service`: the command line of the service."""

import sys
from datetime import UTC, datetime
from typing import Annotated

import typer

from index.cli import command_line, run_cli
from service.app import create_app
from service.logs import configure_logging
from service.principal import Role
from service.security.keys import new_key as make_key
from service.server import make_server
from service.settings import load_settings, settings_page
from service.state import open_published

app = command_line("Answer HTTP from the published bundle. Settings come from RECO_* variables: see `settings`.")


@app.command()
def run() -> None:
    """Serve until SIGTERM or SIGINT, then let the requests in flight end."""
    settings = load_settings()
    configure_logging(settings.log_level)
    bundle = open_published(settings)
    server = make_server(create_app(settings, bundle=bundle), settings)
    server.run()
    if not server.started:
        sys.exit(1)


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
def settings() -> None:
    """Show every setting, its default and its meaning, as the page docs/settings.md."""
    typer.echo(settings_page())


if __name__ == "__main__":
    run_cli(app)
