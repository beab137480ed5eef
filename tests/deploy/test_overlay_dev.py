"""The parts of the dev overlay: its own Redis and the demo shop."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import typer
from built_manifests import find, overlay
from servers import Valkey

from index.__main__ import app as index_commands
from index.errors import InputError
from service.events.open_log import check_log
from service.settings import Settings
from trainer.__main__ import app as trainer_commands

COMMANDS = {"trainer": trainer_commands, "index": index_commands}


def arguments_of_redis() -> dict[str, str]:
    (container,) = find(overlay("dev"), "StatefulSet", "redis")["spec"]["template"]["spec"]["containers"]
    pairs = (argument.removeprefix("--").split() for argument in container["args"])
    return dict(pairs)


@pytest.mark.parametrize("changes", [{}, {"appendonly": "no"}, {"maxmemory-policy": "allkeys-lru"}])
def test_its_redis_stores_events_as_the_service_requires(tmp_path: Path, changes: dict[str, str]) -> None:
    config = {name: value for name, value in arguments_of_redis().items() if name != "dir"} | changes
    redis = Valkey(tmp_path, config=config).start()
    settings = Settings(registry=tmp_path, redis_url=redis.url, event_log="redis")
    try:
        with redis.client() as client:
            assert client.ping()
        if changes:
            with pytest.raises(InputError, match="may lose data"):
                check_log(settings)
        else:
            check_log(settings)
    finally:
        redis.kill()


def shop_commands() -> Iterator[list[str]]:
    """The words of each `python -m` in the script that makes the shop, the inner ones of $(…) included."""
    deployment = find(overlay("dev"), "Deployment", "anchorrec")["spec"]["template"]["spec"]
    *_, script = deployment["initContainers"][0]["args"]
    text = script.replace("\\\n", " ").replace('"$(', "bundle\n").replace(')"', "")
    for line in text.splitlines():
        if line.strip().startswith("python -m "):
            yield shlex.split(line)[2:]


def parsed(module: str, words: list[str]) -> tuple[str, dict[str, Any]]:
    """The command and its parameters, as the command line reads them; an option that there is not is refused."""
    command: Any = typer.main.get_command(COMMANDS[module])
    name = module
    while hasattr(command, "commands"):
        name, command, words = command.resolve_command(click.Context(command), words)
    return name, command.make_context(name, words).params


def test_its_shop_is_made_by_existing_commands() -> None:
    given = [parsed(module, words) for module, *words in shop_commands()]
    assert [name for name, _ in given] == ["shop", "fit", "publish", "export"]
    assert given[0][1]["n_users"] == 300
