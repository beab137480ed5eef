"""The stages of the Dockerfile and of deploy/image/replay.sh, each as a list of steps that can be compared."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dockerfile

ROOT = Path(__file__).parents[1]
DOCKERFILE = ROOT / "Dockerfile"
REPLAY = ROOT / "deploy" / "image" / "replay.sh"

Step = tuple[str, ...]  # an instruction, its flags, its words


@dataclass(frozen=True)
class DockerfileStage:
    """What lies between one FROM and the next."""

    parent: str
    steps: list[Step]

    def words(self, instruction: str) -> list[Step]:
        """The words of each step with this instruction."""
        return [words for name, *words in self.steps if name == instruction]

    def environment(self) -> dict[str, str]:
        return dict(pair.split("=", 1) for words in self.words("ENV") for pair in words)

    def needs(self) -> list[str]:
        """The stages and images that this stage builds on."""
        return [self.parent, *(w[0].removeprefix("--from=") for w in self.words("COPY") if w[0].startswith("--from="))]


def dockerfile_stages() -> dict[str, DockerfileStage]:
    """The stages of the Dockerfile by name, in their order."""
    return _stages(_step(command) for command in dockerfile.parse_file(str(DOCKERFILE)))


def replay_stages() -> dict[str, DockerfileStage]:
    """The stages that the replay script builds, in their order."""
    return _stages(_script_steps(REPLAY.read_text(encoding="utf-8")))


def built_for(stage: str, stages: dict[str, DockerfileStage]) -> set[str]:
    """The names of a stage and of all stages that it builds on."""
    return {stage}.union(*(built_for(name, stages) for name in stages[stage].needs() if name in stages))


def _stages(steps: Iterator[Step]) -> dict[str, DockerfileStage]:
    stages: dict[str, DockerfileStage] = {}
    for step in steps:
        if step[0] == "FROM":
            current = stages[step[-1]] = DockerfileStage(step[1], [])
        elif stages and step[0] != "ARG":
            current.steps.append(step)
    return stages


def _step(command: dockerfile.Command) -> Step:
    words = command.value
    if command.cmd == "ENV":
        words = tuple(f"{name}={value}" for name, value in zip(words[::2], words[1::2], strict=True))
    if command.cmd == "RUN" and not command.json:
        words = (_on_one_line(words[0]),)
    return (command.cmd, *command.flags, *words)


def _script_steps(text: str) -> Iterator[Step]:
    """The lines of the script that begin with an instruction; the script of a RUN is its here-document."""
    script = text.replace("\\\n", " ")
    for instruction, here_document, words in re.findall(
        r"^([A-Z]+) (?:<< 'END'\n([\s\S]*?)^END$|(.+)$)", script, re.MULTILINE
    ):
        yield (instruction, _on_one_line(here_document)) if here_document else (instruction, *shlex.split(words))


def _on_one_line(text: str) -> str:
    return " ".join(text.split())
