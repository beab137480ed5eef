"""`python -m loadtests.baseline_app`: FastAPI with one empty endpoint, on the service's own server and settings."""

import gc

from fastapi import FastAPI

from index.cli import run_cli
from service.http.server import make_server
from service.settings import load_settings

PATH = "/empty"

app = FastAPI()


@app.get(PATH)
async def empty() -> dict[str, str]:
    """Return an empty JSON object: its cost is that of the framework alone."""
    return {}


def main() -> None:
    """Serve until SIGTERM."""
    make_server(app, load_settings(), on_listening=gc.freeze).run()


if __name__ == "__main__":
    run_cli(main)
