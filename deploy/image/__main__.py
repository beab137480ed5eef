"""`python -m deploy.image`: the service's image without a container engine, asked for recommendations."""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.console import Console

from deploy.checks import World
from deploy.demo import checked
from deploy.image.dockerfile import Step, read_stages
from deploy.image.replay import Context, Image, Replay
from deploy.image.root import bare_debian, enter_namespace, run
from deploy.processes import child, end_by_signals, free_port, redis_server
from index.bundle import open_bundle
from index.cli import command_line, run_cli
from index.errors import InputError
from index.registry import Registry

BUDGET_MB = 400  # of the service's site-packages with DEVICE=cpu
BUILD_TOOLS = ("pip", "pip3", "gcc", "cc", "make", "git", "curl", "wget")
# What a request does not show: that what was left out of the packages is not missed.
EXPORT = ("python", "-m", "service", "export-events", "--out", "/tmp/events.parquet")
NEEDED = (
    "service.retrain.kubernetes_launcher",
    "service.telemetry.tracing",
    "index.bucket",
)  # by some settings, and by no request
IMPORTS = tuple(("python", "-c", f"import {module}") for module in NEEDED)

app = command_line()


@app.command()
def check(
    registry: Annotated[Path, typer.Option(help="Folder of published bundles that the image is to serve.")],
    work: Annotated[Path, typer.Option(help="Where the bare Debian root is kept between runs.")] = Path(".image"),
    suite: Annotated[str, typer.Option(help="The Debian of the Dockerfile's base image.")] = "bookworm",
) -> None:
    """Carry out the Dockerfile's steps for the service in a bare Debian root, start it there and check its answers.

    Needs root and debootstrap. What it mounts is seen by nobody else.
    """
    enter_namespace()
    end_by_signals()
    console, started = Console(highlight=False), time.monotonic()

    def said(words: str) -> None:
        console.print(f"{time.monotonic() - started:6.1f} s  {words}", markup=False, soft_wrap=True)

    work.mkdir(parents=True, exist_ok=True)
    said(f"a bare Debian {suite} by debootstrap")
    bare = bare_debian(work.resolve(), suite)
    with folder_of_mounts(work.resolve()) as folder:
        image = service_image(bare, folder, lambda stage, step: said(f"{stage}: {shown(step)}"))
        for found in inspected(image):
            said(found)
        said(f"started as {image.user}, read-only: {' '.join((*image.entrypoint, *image.cmd))}")
        good = answers(console, image, registry.resolve(), folder)
    said("the image serves" if good else "the image does not serve as it should")
    sys.exit(0 if good else 1)


@contextmanager
def folder_of_mounts(work: Path) -> Iterator[Path]:
    """A folder that is removed at the end, after whatever was mounted within."""
    with tempfile.TemporaryDirectory(prefix="replay-", dir=work) as name:
        folder = Path(name)
        try:
            yield folder
        finally:
            for root in folder.glob("*/root"):
                run("umount", "--recursive", root)


def service_image(bare: Path, folder: Path, said: Callable[[str, Step], None]) -> Image:
    """The image of the Dockerfile's stage `service`."""
    trusted = os.environ.get("PIP_CERT")
    stages = read_stages(Path("Dockerfile"), {})
    replay = Replay(stages, bare, Context(Path.cwd()), folder, Path(trusted) if trusted else None, said)
    return replay.image("service")


def shown(step: Step) -> str:
    """A step on one line."""
    words = " ".join((step.instruction, *step.words)).split()
    line = " ".join(words)
    return line if len(line) <= 120 else f"{line[:119]}…"


def inspected(image: Image) -> Iterator[str]:
    """What is said of the image's files; InputError where they are not as they must be."""
    (packages,) = image.root.path.glob("opt/anchorrec/lib/python3*/site-packages")
    size_mb = size_of(packages)
    yield f"site-packages: {size_mb:.0f} MB of {BUDGET_MB}"
    if size_mb > BUDGET_MB:
        raise InputError(f"site-packages take {size_mb:.0f} MB; expected no more than {BUDGET_MB}")
    places = [image.root.path / place.lstrip("/") for place in image.environment["PATH"].split(":")]
    found = [tool for tool in BUILD_TOOLS for place in places if os.path.lexists(place / tool)]
    if found or (packages / "torch").exists():
        raise InputError(f"the image has {found or 'torch'}; expected neither build tools nor torch")
    yield f"neither build tools nor torch; the whole root: {size_of(image.root.path):.0f} MB"


def size_of(folder: Path) -> float:
    """Megabytes of all files below; links are not followed."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir()) / 1e6


def answers(console: Console, image: Image, registry: Path, folder: Path) -> bool:
    """Start the image as a container would be, beside a Redis, and hold what it answers against the bundle."""
    bundle = open_bundle(Registry(registry).current(), verify=False)
    uid, gid = (int(number) for number in str(image.user).split(":"))
    data = folder / "data"
    data.mkdir()
    os.chown(data, uid, gid)
    image.root.seal()
    image.root.bind(registry, image.environment["RECO_REGISTRY"].lstrip("/"), options="ro")
    image.root.bind(data, image.environment["RECO_DATA"].lstrip("/"))
    port = free_port()
    with redis_server() as redis:
        environment = {**image.environment, "RECO_PORT": str(port), "RECO_REDIS_URL": redis.connection_url}
        environment["RECO_REDIS_BUDGET_MS"] = "100"  # as the demo: the machine may be busy
        command = image.command((*image.entrypoint, *image.cmd))
        with child(command, port, environment, ready) as service:
            for words in (image.healthcheck, EXPORT, *IMPORTS):
                run(*image.command(words), environment=environment)
            return checked(console, World(service.client, bundle), None)


def ready(client: httpx.Client) -> bool:
    """Whether the service can answer."""
    return client.get("/readyz").status_code == httpx.codes.OK


if __name__ == "__main__":
    run_cli(app)
