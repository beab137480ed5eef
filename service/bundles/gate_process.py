"""The gate in a process of its own: it reads a whole bundle, and what it finds there may end it (a file cut short)."""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from pydantic import ValidationError

from index.gate_report import GateReport, limits_as_arguments
from index.records import GateResult
from index.registry import Registry
from service.bundles.warmup import RecentRequests
from service.errors import ServiceError
from service.settings import Settings
from service.telemetry.metrics import Metrics

NICENESS = 10
LAST_WORDS = 500  # of what a gate that failed said


class GateFailed(ServiceError):  # noqa: N818
    """The gate came to no verdict; nothing was published."""

    status = 500
    code = "gate_failed"


class GateRunner:
    """Asks the gate as this service is set up, keeps what it said in the registry, and counts it."""

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        metrics: Metrics,
        recent: RecentRequests,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._counts = {name: metrics.bundle_gates.labels(name) for name in ("passed", "refused", "forced", "failed")}
        self._recent = recent
        self._clock = clock
        self._registry = registry

    async def judge(self, bundle_id: str, *, force: bool = False) -> GateReport:
        """The report on a bundle of the registry; `force` says that a bad one will be published all the same.

        GateFailed where there is none; InputError where there is no such bundle, or the report cannot be kept.
        """
        await asyncio.to_thread(self._registry.path, bundle_id)  # refuses what is no id, fetches what is not here
        try:
            with self._registry.in_use(bundle_id):
                report = await run_gate(self._registry.location(bundle_id), self._recent.user_ids(), self._settings)
        except GateFailed:
            self._counts["failed"].inc()
            raise
        self._counts["passed" if report.passed else "forced" if force else "refused"].inc()
        gated = GateResult(at=datetime.fromtimestamp(self._clock(), UTC), report=report)
        await asyncio.to_thread(self._registry.save_gate_report, bundle_id, gated)
        return report


async def run_gate(location: str, users: Sequence[str], settings: Settings) -> GateReport:
    """The gate's report on the bundle at a path or URL against the one that serves; `users` were asked for of late.

    It runs at a low priority, so that requests do not wait for it. GateFailed where it ends without a report.
    """
    limits = [word for limit in limits_as_arguments(settings.gate) for word in ("--limit", limit)]
    command = (sys.executable, "-m", "index", "gate", location, "--json", "--replay", "-", *limits)
    if settings.registry_copies is not None:
        command += ("--copies", str(settings.registry_copies))
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, process.pid, NICENESS)
    told = "\n".join(user for user in users if "\n" not in user).encode()
    try:
        out, err = await asyncio.wait_for(process.communicate(told), settings.gate_timeout_s)
    except TimeoutError:
        raise GateFailed(f"the gate took longer than {settings.gate_timeout_s:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    try:
        return GateReport.model_validate_json(out)
    except ValidationError:
        said = err.decode(errors="replace").strip()[-LAST_WORDS:]
        raise GateFailed(f"the gate ended with status {process.returncode}: {said or 'it said nothing'}") from None


def as_json(report: GateReport) -> dict[str, object]:
    """The report for an answer."""
    return {"passed": report.passed, **json.loads(report.model_dump_json())}
