"""`python -m loadtests.loadtest`: run Locust against a deployment, or against a service started for the run."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from deploy.processes import end_by_signals, redis_server
from index.cli import command_line, run_cli
from index.errors import InputError
from loadtests.bench_servers import BenchKey, service
from loadtests.load_profiles import PROFILES
from loadtests.locust_options import options_help
from loadtests.random_bundle import RandomBundleSizes, publish_random, user_id

LOCUSTFILE = Path(__file__).with_name("locustfile.py")

app = command_line()


@dataclass(frozen=True)
class Target:
    """The service under test: its address, and environment variables for Locust."""

    host: str
    variables: Mapping[str, str]


HELP = f"""Simulate visitors according to a load profile, print statistics, write a report, and check limits.

The exit status is 0 where all limits hold and 1 where one is broken; a line for each shows by how much.

Other options go to Locust: its own, and these.

{options_help()}

Example: python -m loadtests.loadtest --profile spike --peak-users 200 --p99-recommend-ms 100
"""


@app.command(help=HELP, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def loadtest(
    context: typer.Context,
    *,
    profile: Annotated[str, typer.Option(help=f"{', '.join(PROFILES)}: the number of visitors over time.")] = "smoke",
    host: Annotated[str, typer.Option(help="URL of a deployment. [default: a service is started here]")] = "",
    report: Annotated[Path, typer.Option(help="The HTML report; its folder is created.")] = Path(".load/report.html"),
    workers: Annotated[int, typer.Option(min=0, help="Worker processes beside a master; 0: one process.")] = 0,
    items: Annotated[int, typer.Option(min=31, help="Items of the service started here.")] = 5_000,
    users: Annotated[int, typer.Option(min=1, help="Users of the service started here.")] = 20_000,
) -> None:
    """Run Locust, with a service of its own where no host is given."""
    if profile not in PROFILES:
        raise InputError(f"profile {profile!r}; expected one of {', '.join(PROFILES)}")
    end_by_signals()
    report.parent.mkdir(parents=True, exist_ok=True)
    options = ["--load-profile", profile, "--html", str(report), *context.args]
    if workers:
        options += ["--processes", str(workers)]
    with deployment(host) if host else own_service(RandomBundleSizes(n_items=items, n_users=users)) as target:
        status = locust(target, options)
    typer.echo(f"report: {report}")
    sys.exit(status)


def locust(target: Target, options: Sequence[str]) -> int:
    """Run Locust without its web interface and return the exit status."""
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary"]
    environment = os.environ | dict(target.variables)
    return subprocess.run([*command, "--host", target.host, *options], env=environment, check=False).returncode


@contextmanager
def deployment(host: str) -> Iterator[Target]:
    """A deployment that is already running."""
    yield Target(host, {})


@contextmanager
def own_service(sizes: RandomBundleSizes) -> Iterator[Target]:
    """Run Redis and a service with a random bundle, an API key and a file of user ids."""
    with tempfile.TemporaryDirectory(prefix="anchorrec-load-") as folder:
        registry, key = Path(folder) / "bundles", BenchKey.create(Path(folder) / "keys.jsonl")
        publish_random(registry, sizes, np.random.default_rng(0))
        ids = Path(folder) / "users.txt"
        ids.write_text("\n".join(map(user_id, range(sizes.n_users))), encoding="utf-8")
        with redis_server() as redis, service(registry, redis.connection_url, key) as child:
            variables = {"RECO_LOAD_API_KEY": key.key, "RECO_LOAD_USER_IDS": str(ids)}
            yield Target(str(child.client.base_url), variables)


if __name__ == "__main__":
    run_cli(app)
