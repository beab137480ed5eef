"""The operator's file that declares which experiment runs. It is taken up when it changes, by whichever process first.

At start it is taken up only where it never was: a replica that still has an older file changes nothing. A file that is
refused is logged and shown, and the experiment goes on; an invalid one stops the start.
"""

import asyncio
from pathlib import Path

import structlog
from pydantic import RootModel, field_validator

from index.errors import InputError
from index.experiments import GivenExperiment, Name
from service.bundles.bundle_errors import RegistryError
from service.declared_file import read_with_digest, stamp_of
from service.errors import ServiceError
from service.experiments.control import ExperimentControl
from service.telemetry.metrics import ExperimentMetrics

BY = "RECO_EXPERIMENTS_FILE"  # in the history of experiments
TAKEN_UP_BEFORE = "its content was taken up before this start, and what followed stays; change it to take it up again"

log = structlog.get_logger()


class NamedExperiment(GivenExperiment):
    """An experiment with its name."""

    name: Name


class DeclaredExperiment(RootModel[NamedExperiment | None]):
    """The content of the file; one without any field declares that no experiment runs."""

    @field_validator("root", mode="before")
    @classmethod
    def _none_if_empty(cls, given: object) -> object:
        return None if given == {} else given


def read_experiment(path: Path) -> tuple[NamedExperiment | None, str]:
    """The experiment of a .json or .toml file, and the digest of its text. InputError where it is invalid."""
    content, digest = read_with_digest(path, DeclaredExperiment, "docs/experiments.md has the fields")
    return content.root, digest


class ExperimentsFile:
    """The file, and why its newest content is not in effect."""

    def __init__(self, path: Path | None, metrics: ExperimentMetrics) -> None:
        """InputError where the content is invalid."""
        self._path = path
        self._metrics = metrics
        self._stamp = None if path is None else stamp_of(path)  # before reading, so that a change meanwhile is noticed
        self._content = (None, "") if path is None else read_experiment(path)
        self._at_start = True
        self._waits = path is not None  # for being taken up
        self.problem = ""

    @property
    def state(self) -> str | None:
        """For people: in effect, or why not; None where there is no file."""
        return None if self._path is None else self.problem or ("not taken up yet" if self._waits else "in effect")

    async def follow(self, control: ExperimentControl, every_s: float) -> None:
        """Take the file up at start and whenever it changes, until cancelled."""
        while True:
            await self.take_up(control)
            await asyncio.sleep(every_s)

    async def take_up(self, control: ExperimentControl) -> None:
        """Read the file if it has changed, and change the experiments accordingly."""
        assert self._path is not None
        try:
            if not self._at_start:
                await self._read(self._path)
            if self._waits:
                await self._apply(control)
        except RegistryError as error:
            self._refuse(error.detail)  # and tried again soon
            return
        except (InputError, ServiceError) as error:
            self._refuse(str(error))
            self._metrics.experiment_changes.labels("refused").inc()
        self._at_start = self._waits = False

    async def _read(self, path: Path) -> None:
        stamp = await asyncio.to_thread(stamp_of, path)
        if stamp != self._stamp:
            self._stamp = stamp
            self._content, self._waits = await asyncio.to_thread(read_experiment, path), True

    async def _apply(self, control: ExperimentControl) -> None:
        declared, digest = self._content
        taken_up = (await control.experiments()).applied
        if self._at_start and digest in taken_up[:-1]:
            self._refuse(TAKEN_UP_BEFORE)
            return
        if declared is None:
            await control.end_running(by=BY, applied=digest)
        elif digest not in taken_up[-1:]:
            await control.declare(declared.name, declared, by=BY, applied=digest)
        self.problem = ""

    def _refuse(self, problem: str) -> None:
        if problem != self.problem:
            log.error("experiments file not taken up", path=str(self._path), error=problem)
        self.problem = problem
