"""The service as it is run: a process of its own, over a socket."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import forkserver
import httpx
from forkserver import Program
from servers import wait_until

from deploy.processes import free_port

Running: TypeAlias = "subprocess.Popen[bytes] | Program"
INTERPRETER = ("-m", "service", "run")
"""The service in an interpreter of its own, as an operator starts it."""


def run(*arguments: str, **variables: Any) -> "subprocess.CompletedProcess[str]":
    """Run the command line to its end."""
    return forkserver.run("service", *arguments, env=environment(variables))


def environment(variables: dict[str, Any]) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RECO_")}
    return clean | {f"RECO_{name.upper()}": str(value) for name, value in variables.items()}


@contextmanager
def process(
    registry: Path | str,
    log: Path,
    *,
    port: int | None = None,
    program: Sequence[str] | None = None,
    **variables: Any,
) -> Iterator[tuple[Running, httpx.Client]]:
    """The service started by its command line; killed if a test left it running.

    `program` are arguments of a new interpreter, for what a fork of the libraries cannot show.
    """
    port = free_port() if port is None else port
    env = environment({"registry": registry, "port": port, **variables})

    with log.open("ab") as file:
        running: Running = (
            forkserver.start("service", ["run"], stderr=file, env=env)
            if program is None
            else subprocess.Popen([sys.executable, *program], env=env, stderr=file)
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            wait_until(lambda: answers(client) or running.poll() is not None)
            yield running, client
    finally:
        running.kill()
        running.wait()


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def stop(running: Running) -> None:
    """Ask the process to end; it ends by the signal it was sent, as a shell or a kubelet expects."""
    running.send_signal(signal.SIGTERM)
    assert running.wait(60) == -signal.SIGTERM
