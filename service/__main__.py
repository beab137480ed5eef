"""`python -m service`: the command line of the service."""

import sys

import typer

from index.cli import command_line, run_cli
from service.app import create_app
from service.logs import configure_logging
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
def settings() -> None:
    """Show every setting, its default and its meaning, as the page docs/settings.md."""
    typer.echo(settings_page())


if __name__ == "__main__":
    run_cli(app)
