"""Loads the bundles of the running experiment's arms, and follows the registry's experiments."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager

import structlog

from index.experiments import Experiment
from service.bundles.bundle_errors import GateRefusedError, SwapFailedError, UnknownBundleError
from service.bundles.current import CurrentBundle
from service.bundles.gate_process import GateRunner
from service.bundles.loader import BundleLoader
from service.bundles.open_published import open_verified
from service.bundles.polling import Polling
from service.bundles.swapper import REGISTRY_ERRORS
from service.errors import ServiceError
from service.experiments.arms import Arms

LOADING = "its bundle is being loaded"

log = structlog.get_logger()


class ArmBundles:
    """One slot for each bundle that an arm or the shadow of the running experiment names.

    While an arm's new bundle is loaded, its users get the one before. A bundle that the gate refused, that was
    withdrawn, or that cannot be opened or warmed up never serves; it is tried again with backoff.
    """

    def __init__(
        self, arms: Arms, loader: BundleLoader, gate: GateRunner, on_loaded: Callable[[str], None] = lambda _: None
    ) -> None:
        """`on_loaded` gets the id of each bundle that is about to serve."""
        self.arms = arms
        self._loader = loader
        self._gate = gate
        self._registry = gate.registry
        self.metrics = loader.metrics
        self.settings = loader.settings
        self._on_loaded = on_loaded
        self._slots: dict[str, CurrentBundle] = {}  # by bundle id
        self._problems: dict[str, str] = {}  # by bundle id
        self._serving: dict[str, str] = {}  # by name of the arm: the bundle that answers its users
        self._following = Polling(self.settings.bundle_poll_s)
        self._backoff = self._following.backoff
        self._polling, self._loading = asyncio.Lock(), asyncio.Lock()
        self._kept: Counter[str] = Counter()  # bundles that a change is about to name
        self._registry_error = ""

    @property
    def registry_error(self) -> str:
        """Why the registry's experiments could not be read at the last poll."""
        return self._registry_error

    def slots(self) -> list[CurrentBundle]:
        """The slots of all bundles that are loaded for the experiment."""
        return list(self._slots.values())

    def problem(self, bundle_id: str) -> str:
        """Why a bundle that the experiment names does not serve; empty where it does."""
        return "" if bundle_id in self._slots else self._problems.get(bundle_id, LOADING)

    def poll_now(self) -> None:
        """Poll at once, without backoff: the experiments have changed."""
        self._following.now()

    async def follow(self) -> None:
        """Poll the registry's experiments and take them up, until cancelled."""
        await self._following.run(self.poll)

    async def poll(self) -> None:
        """Take up the experiments as the registry has them; on return they are in effect, as far as bundles load."""
        async with self._polling:
            try:
                experiments = await asyncio.to_thread(self._registry.experiments)
            except REGISTRY_ERRORS as error:
                self._report(str(error))
                return
            self._report("")
            await self._take_up(experiments.running)

    async def _take_up(self, running: Experiment | None) -> None:
        if running is None and self.arms.experiment is None:
            self._drop(set())
            return
        if self.arms.experiment is None or running is None or self.arms.experiment.name != running.name:
            self._serving.clear()
            if running is not None:  # those of earlier experiments would grow in number without end
                self.metrics.arm_answers.clear()
        self._apply(running)  # what needs no bundle to be loaded, such as weights and arms that end
        for bundle_id in sorted(running.bundles if running else ()):
            if bundle_id not in self._slots and self._backoff.due(bundle_id):
                try:
                    await self._load(bundle_id)
                except ServiceError as error:  # shown by `problem`; who asks for a change gets it as the answer
                    log.error("bundle not loaded for an arm", bundle=bundle_id, error=error.detail)
                self._apply(running)
        self._drop(set() if running is None else running.bundles | set(self._serving.values()))

    def _apply(self, running: Experiment | None) -> None:
        """Let each arm serve its bundle, or else the one that it served until now."""
        before, slots, problems = self.arms.experiment, {}, {}
        for arm in running.arms if running else ():
            if arm.bundle is None or arm.ended:
                continue
            if arm.bundle in self._slots:
                self._serving[arm.name] = arm.bundle
            serving = self._serving.get(arm.name)
            if serving is not None and serving in (arm.bundle, *arm.history):  # else the arm was rolled back from it
                slots[arm.name] = self._slots[serving]
            problems[arm.name] = self.problem(arm.bundle)
        for name in self._serving.keys() - slots.keys():
            del self._serving[name]
        shadow = None if running is None or running.shadow is None else self._slots.get(running.shadow.bundle)
        self.arms.take_up(running, slots, problems, shadow)
        self._show()
        if running != before:
            self.metrics.experiment_changes.labels("done").inc()
            log.info(
                "experiments changed",
                experiment=None if running is None else running.name,
                arms={} if running is None else {arm.name: arm.weight for arm in running.arms},
                bundles={} if running is None else {arm.name: arm.bundle for arm in running.arms if arm.bundle},
            )

    def _show(self) -> None:
        self.metrics.arm_unavailable.clear()
        self.metrics.arm_ended.clear()
        experiment = self.arms.experiment
        for name, served in self.arms.served.items():
            assert experiment is not None
            self.metrics.arm_unavailable.labels(experiment.name, name).set(
                served.slot is None and served.arm.ended is None
            )
            self.metrics.arm_ended.labels(experiment.name, name).set(served.arm.ended is not None)

    def _drop(self, named: set[str]) -> None:
        needed = named | {bundle_id for bundle_id, n in self._kept.items() if n}
        self._slots = {bundle_id: slot for bundle_id, slot in self._slots.items() if bundle_id in needed}
        self._problems = {bundle_id: problem for bundle_id, problem in self._problems.items() if bundle_id in needed}
        self._loader.catalogue.arms = self.slots()

    @asynccontextmanager
    async def loaded(self, bundle_ids: Collection[str], *, withdrawn: bool = False) -> AsyncIterator[None]:
        """Load bundles before an experiment names them, and keep them until the end of the context.

        With `withdrawn`, also those that were withdrawn.
        UnknownBundleError, GateRefusedError, GateFailedError, SwapFailedError where one must not or cannot serve.
        """
        self._kept.update(bundle_ids)
        try:
            for bundle_id in sorted(bundle_ids):
                await self._load(bundle_id, withdrawn=withdrawn)
            yield
        finally:
            self._kept.subtract(bundle_ids)

    async def _load(self, bundle_id: str, *, withdrawn: bool = False) -> None:
        async with self._loading:
            self._problems.pop(bundle_id, None)
            try:
                await self._check(bundle_id, withdrawn=withdrawn)  # also of one that serves: it may be withdrawn since
                if bundle_id not in self._slots:
                    await self._open(bundle_id)
            except ServiceError as error:
                self._failed(bundle_id, error.detail)
                raise
            except (*REGISTRY_ERRORS, MemoryError) as error:
                problem = str(error) or type(error).__name__
                self._failed(bundle_id, problem)
                raise SwapFailedError(f"{bundle_id} cannot serve here: {problem}") from error

    def _failed(self, bundle_id: str, problem: str) -> None:
        self._problems[bundle_id] = problem
        self._backoff.failed(bundle_id)

    async def _open(self, bundle_id: str) -> None:
        verify = self.settings.verify_bundle != "off"
        others = [slot.loaded for slot in (self.arms.current, *self.slots())]
        bundles = [other.bundle for other in others]
        opened = await asyncio.to_thread(
            open_verified, self._registry, bundle_id, self.settings, verify=verify, shared_with=bundles
        )
        loaded = await self._loader.load_warm(opened.bundle, shared_with=others)
        self._on_loaded(bundle_id)
        self._slots[bundle_id] = CurrentBundle(loaded, lambda: None, self._loader.catalogue.complete)
        self._loader.catalogue.arms = self.slots()

    async def _check(self, bundle_id: str, *, withdrawn: bool) -> None:
        """Whether the bundle may serve: by its record, or by the gate where it has not run."""
        if not await asyncio.to_thread(self._registry.holds, bundle_id):
            raise UnknownBundleError(f"the registry has no bundle {bundle_id[:120]!r}; GET /bundles lists them")
        record = await asyncio.to_thread(self._registry.record, bundle_id)
        if record.withdrawn is not None and not withdrawn:
            raise SwapFailedError(f"{bundle_id} was withdrawn: {record.withdrawn.why}; publish it first")
        published, gated = record.published, record.gate
        if gated is None and published is None:
            report = await self._gate.run(bundle_id)
        elif gated is not None and (published is None or published.at < gated.at):
            report = gated.report
        else:  # a person let it serve since the gate ran
            return
        if not report.passed:
            raise GateRefusedError(report)

    def _report(self, error: str) -> None:
        if error and error != self._registry_error:
            log.error("the registry's experiments cannot be read", registry=str(self._registry), error=error)
        self._registry_error = error
