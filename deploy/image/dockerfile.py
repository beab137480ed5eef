"""A Dockerfile as Docker's own parser reads it: stages, their steps, the values of their arguments."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

import dockerfile

from index.errors import InputError


@dataclass(frozen=True)
class Step:
    """One instruction of a stage: `COPY`, its flags without dashes, its words."""

    instruction: str
    flags: Mapping[str, str]
    words: tuple[str, ...]
    line: int

    def pairs(self) -> dict[str, str]:
        """The words of an ENV as names and values."""
        return dict(zip(self.words[::2], self.words[1::2], strict=True))


@dataclass(frozen=True)
class Stage:
    """What lies between one FROM and the next."""

    name: str
    parent: str  # another stage, or an image
    steps: tuple[Step, ...] = field(default=())


def read_stages(path: Path, arguments: Mapping[str, str]) -> dict[str, Stage]:
    """The stages by name, in their order; `arguments` as given to `docker build --build-arg`."""
    try:
        commands = dockerfile.parse_file(str(path))
    except (dockerfile.GoIOError, dockerfile.GoParseError) as error:
        raise InputError(f"{path}: {error}") from None
    return {stage.name: stage for stage in _stages(list(commands), arguments)}


def _stages(commands: list[dockerfile.Command], arguments: Mapping[str, str]) -> Iterator[Stage]:
    starts = [number for number, command in enumerate(commands) if command.cmd == "FROM"]
    outer = _defaults(commands[: starts[0]], {}) | dict(arguments)
    for start, end in zip(starts, [*starts[1:], len(commands)], strict=True):
        image, *named = commands[start].value
        known = _defaults(commands[start + 1 : end], outer)
        steps = tuple(_step(command, known) for command in commands[start + 1 : end] if command.cmd != "ARG")
        yield Stage(named[-1] if named else str(start), Template(image).safe_substitute(outer), steps)


def _defaults(commands: list[dockerfile.Command], outer: Mapping[str, str]) -> dict[str, str]:
    """What the ARGs come to: a stage knows of the arguments around it those that it names."""
    words = [command.value[0].partition("=") for command in commands if command.cmd == "ARG"]
    return {name: outer.get(name, default) for name, _, default in words}


def _step(command: dockerfile.Command, known: Mapping[str, str]) -> Step:
    flags = dict(flag.removeprefix("--").split("=", 1) for flag in command.flags)
    # The shell of a RUN substitutes for itself: the arguments are in its environment.
    words = tuple(word if command.cmd == "RUN" else Template(word).safe_substitute(known) for word in command.value)
    if command.cmd == "RUN" and not command.json:
        words = ("/bin/sh", "-c", *words)
    if command.cmd == "RUN":
        words = ("env", *(f"{name}={value}" for name, value in known.items()), *words)
    return Step(command.cmd, flags, words, command.start_line)
