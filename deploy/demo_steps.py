"""What the demo serves, made in four steps: data, AnchorEASE's settings, trained models, a published bundle.

A step is repeated only where what it depends on has changed: the code of the package, the model, or an earlier step.
What an interrupted step has made is continued.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from time import monotonic
from typing import Protocol

from rich.console import Console

from deploy.demo_commands import run_module, time_left
from index.errors import InputError
from index.storage import replace_file

PACKAGES = Path(__file__).parents[1]
TUNED = "anchorease"
OF_DATA = (
    *("trainer/data.py", "trainer/prepare.py", "trainer/features.py", "trainer/splits.py"),
    *("trainer/datasets/**/*.py", "trainer/datasets/**/*.toml", "trainer/encoders/*.py"),
)
OF_MODELS = (
    *("trainer/*.py", "trainer/models/*.py", "trainer/model_settings/*.py", "trainer/tune/*.py"),
    "trainer/configs/**/*.toml",
)
OF_BUNDLES = ("trainer/export.py", "index/*.py")
SEARCH_S = 40  # for settings
SLOWEST = 2.0  # than on two idle cores, in what is foretold: the search is as short on a slow machine
FOLDER_MB = 300  # that the steps leave, with a reserve


@dataclass(frozen=True)
class DemoFolder:
    """Where the demo keeps what it makes."""

    path: Path
    model: str

    @property
    def shop(self) -> Path:
        return self.path / "shop"

    @property
    def images(self) -> Path:
        return self.path / "shop-images"

    @property
    def study(self) -> Path:
        return self.path / "study"

    @property
    def runs(self) -> Path:
        return self.path / self.model / "runs"

    @property
    def bundles(self) -> Path:
        return self.path / self.model / "bundles"

    @property
    def figures(self) -> Path:
        return self.runs / "comparison.json"

    @property
    def log(self) -> Path:
        """What the commands of the steps wrote."""
        return self.path / "demo.log"


class Python(Protocol):
    """Runs `python -m MODULE ARGUMENTS`, and returns its standard output where that is to be read."""

    def __call__(self, module: str, *arguments: object, read: bool = False) -> str: ...


@dataclass(frozen=True)
class Step:
    """One step: what it does, how long on two cores, the code it depends on, what it makes, and what is then stale."""

    name: str
    does: str
    seconds: int
    code: tuple[str, ...]
    makes: Path
    stale: tuple[Path, ...]  # removed where what the step depends on has changed
    run: Callable[[Python], None]


def demo_steps(folder: DemoFolder) -> list[Step]:
    """The steps, in order."""
    shop, study, runs, bundles = folder.shop, folder.study, folder.runs, folder.bundles
    tuned = folder.path / f"{TUNED}.toml"

    def prepare(python: Python) -> None:
        python("trainer", "prepare", "shop", "--out", shop, "--cache", folder.path / "features", "--overwrite")

    def tune(python: Python) -> None:
        python("trainer", "tune", shop, "--out", study, "--timeout", SEARCH_S, "--no-final")
        shutil.copyfile(study / "best.toml", tuned)

    def compare(python: Python) -> None:
        models = [name for name in dict.fromkeys(["popularity", "ease", folder.model]) if name != TUNED]
        chosen = ["--config", tuned, "--models", ",".join(models), "--set", "training.epochs=45"]
        python("trainer", "compare", shop, "--out", runs, *chosen)

    def publish(python: Python) -> None:
        bundle = python("trainer", "export", runs / folder.model, "--registry", bundles, read=True)
        python("index", "publish", bundle.strip().splitlines()[-1])

    return [
        Step("data", "draw a shop, encode its texts and pictures", 32, OF_DATA, shop / "dataset.json", (), prepare),
        Step(
            "settings",
            "search AnchorEASE's settings by validation",
            SEARCH_S + 15,
            OF_MODELS,
            tuned,
            (study, tuned),
            tune,
        ),
        Step(
            f"{folder.model}-models",
            f"train {folder.model} and compare it with popularity and EASE",
            12,
            (),
            folder.figures,
            (runs, bundles),
            compare,
        ),
        Step(
            f"{folder.model}-bundle",
            "write a bundle and publish it through the gate",
            20,
            OF_BUNDLES,
            bundles / "current.json",
            (),
            publish,
        ),
    ]


def make_demo(folder: DemoFolder, console: Console, *, verbose: bool = False) -> None:
    """Run the steps that are not done, and say what each does and how long it takes. InputError where one fails.

    What their commands write goes into the folder's log; with `verbose` onto the terminal.
    """
    folder.path.mkdir(parents=True, exist_ok=True)
    due = [one for one in _with_digests(demo_steps(folder)) if not _is_done(folder, *one)]
    if due and shutil.disk_usage(folder.path).free < FOLDER_MB * 1_000_000:
        raise InputError(f"the demo needs {FOLDER_MB} MB of disk, and {folder.path.resolve()} has less left")
    if due and not verbose:
        folder.log.write_text("")
    python = partial(run_module, log=None if verbose else folder.log)
    slower, started = 1.0, monotonic()  # than on two idle cores, by the steps that are done
    for number, (step, digest) in enumerate(due, start=1):
        after = sum(later.seconds for later, _ in due[number:])
        then = f", then about {_time(slower * after)} more" if after else ""
        console.print(
            f"[bold]step {number} of {len(due)}[/]: {step.does} (about {_time(slower * step.seconds)}{then})",
            highlight=False,
            soft_wrap=True,
        )
        _begin(folder, step, digest)
        with nullcontext() if verbose else time_left(console, slower * step.seconds, folder.log):
            step.run(python)
        _record(folder, step, digest, done=True)
        slower = min(max(1.0, (monotonic() - started) / sum(done.seconds for done, _ in due[:number])), SLOWEST)


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _with_digests(steps: Sequence[Step]) -> Iterator[tuple[Step, str]]:
    """Each step with a digest of all that it depends on: its code, its name, and the steps before it."""
    own = (f"{step.name} {_code_digest(step.code)}" for step in steps)
    chain = accumulate(own, lambda before, one: hashlib.sha256(f"{before} {one}".encode()).hexdigest())
    return zip(steps, chain, strict=True)


def _code_digest(patterns: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for file in sorted({file for pattern in patterns for file in PACKAGES.glob(pattern)}):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _state(folder: DemoFolder, step: Step) -> dict[str, object]:
    file = folder.path / f".{step.name}.json"
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_done(folder: DemoFolder, step: Step, digest: str) -> bool:
    return step.makes.exists() and _state(folder, step) == {"of": digest, "done": True}


def _begin(folder: DemoFolder, step: Step, digest: str) -> None:
    if _state(folder, step).get("of") != digest:
        for path in step.stale:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    _record(folder, step, digest, done=False)


def _record(folder: DemoFolder, step: Step, digest: str, *, done: bool) -> None:
    replace_file(folder.path / f".{step.name}.json", json.dumps({"of": digest, "done": done}).encode())
