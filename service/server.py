"""The HTTP server under the application: one uvicorn, set up in one place."""

import uvicorn
from starlette.types import ASGIApp

from service.protocol import Protocol
from service.settings import Settings


def make_server(app: ASGIApp, settings: Settings) -> uvicorn.Server:
    """A server, ready to `run()`. The load test's yardstick stands on the same one, so that only the app differs."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            loop="uvloop",
            http=Protocol,
            lifespan="on",
            workers=1,
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=settings.keep_alive_s,
            timeout_graceful_shutdown=round(settings.drain_s),
            backlog=4_096,
        )
    )
