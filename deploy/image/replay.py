"""The steps of a Dockerfile's stages, carried out one by one over a bare root."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from deploy.image.dockerfile import Stage, Step
from deploy.image.root import HOST, PATH, Root, run
from index.errors import InputError

Said = Callable[[str, Step], None]


@dataclass(frozen=True)
class Image:
    """What a stage comes to: its root, and how a container of it would be started."""

    root: Root
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    workdir: str = "/"
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    healthcheck: tuple[str, ...] = ()

    def command(self, words: tuple[str, ...]) -> list[str]:
        """A command line that runs the words in the image, as its user."""
        return self.root.command(words, self.user, self.workdir)


@dataclass(frozen=True)
class Context:
    """The folder of the Dockerfile: what its .dockerignore lets in."""

    folder: Path

    def find(self, name: str) -> Path:
        """A file or folder of it; InputError where COPY could not see it."""
        first = PurePosixPath(name).parts[0]
        if f"!{first}" not in self._lines():
            raise InputError(f"COPY {name}: .dockerignore keeps it out; expected a line !{first}")
        return self.folder / name

    def ignored(self) -> list[str]:
        """Names that are left out wherever they are."""
        return [line.removeprefix("**/") for line in self._lines() if line.startswith("**/")]

    def _lines(self) -> list[str]:
        return (self.folder / ".dockerignore").read_text(encoding="utf-8").splitlines()


@dataclass
class Replay:
    """Makes images of stages, each once, in folders beside each other."""

    stages: Mapping[str, Stage]
    bare: Path
    context: Context
    folder: Path
    certificates: Path | None
    said: Said
    made: dict[str, Image] = field(default_factory=dict)

    def image(self, name: str) -> Image:
        """The image of a stage, those that it is made from first; a parent that is no stage is the bare root."""
        if name not in self.made:
            stage = self.stages[name]
            parent = self.image(stage.parent) if stage.parent in self.stages else None
            layers = parent.root.layers if parent else (self.bare,)
            for needed in (step.flags["from"] for step in stage.steps if "from" in step.flags):
                self.image(needed)
            root = Root.over(layers, self.folder / name)
            image = replace(parent, root=root) if parent else Image(root)
            for step in stage.steps:
                self.said(name, step)
                image = self._carried_out(step, image)
            self.made[name] = image
        return self.made[name]

    def _carried_out(self, step: Step, image: Image) -> Image:
        match step.instruction:
            case "RUN":
                self._run(step, image)
            case "COPY":
                self._copy(step, image)
            case "ENV":
                image = replace(image, environment={**image.environment, **step.pairs()})
            case "WORKDIR":
                (image.root.path / step.words[0].lstrip("/")).mkdir(parents=True, exist_ok=True)
                image = replace(image, workdir=step.words[0])
            case "USER":
                image = replace(image, user=step.words[0])
            case "ENTRYPOINT":
                image = replace(image, entrypoint=step.words)
            case "CMD":
                image = replace(image, cmd=step.words)
            case "HEALTHCHECK":
                image = replace(image, healthcheck=step.words[1:])  # without the word CMD
            case "EXPOSE":
                pass  # it opens nothing
            case other:
                raise InputError(f"line {step.line}: {other} is not replayed; teach it to deploy/image/replay.py")
        return image

    def _run(self, step: Step, image: Image) -> None:
        trusted = {"PIP_CERT": f"/{HOST}/certificates.pem"} if self.certificates else {}
        image.root.lend(self.certificates)
        try:
            environment = {"DEBIAN_FRONTEND": "noninteractive", **image.environment, **trusted}
            run(*image.command(step.words), environment={"PATH": PATH, **environment})
        finally:
            image.root.take_back()

    def _copy(self, step: Step, image: Image) -> None:
        source, target = step.words
        if "from" in step.flags:
            found = self.made[step.flags["from"]].root.path / source.lstrip("/")
        else:
            found = self.context.find(source)
        place = image.root.path / target.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        if found.is_dir():
            ignore = None if "from" in step.flags else shutil.ignore_patterns(*self.context.ignored())
            shutil.copytree(found, place, symlinks=True, dirs_exist_ok=True, ignore=ignore)
        else:
            shutil.copy2(found, place)
