"""Runs the gate in a child process: it reads a whole bundle, and a truncated file may crash its reader."""

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
from service.settings import BundleSettings
from service.telemetry.metrics import BundleMetrics

NICENESS = 10
STDERR_CHARS = 500  # of a failed gate's standard error, at its end


class GateFailedError(ServiceError):
    """The gate ended without a report; nothing was published."""

    status = 500
    code = "gate_failed"


class GateRunner:
    """Runs the gate with this service's settings, stores its report in the registry, and counts the outcome."""

    def __init__(
        self,
        settings: BundleSettings,
        registry: Registry,
        metrics: BundleMetrics,
        recent: RecentRequests,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._counts = {name: metrics.bundle_gates.labels(name) for name in ("passed", "refused", "forced", "failed")}
        self._recent = recent
        self._clock = clock
        self.registry = registry

    async def run(self, bundle_id: str, *, force: bool = False) -> GateReport:
        """The gate's report on a bundle of the registry. With `force` a refusal is counted as forced.

        GateFailedError where the gate fails; InputError where there is no such bundle or its report cannot be stored.
        """
        await asyncio.to_thread(self.registry.path, bundle_id)  # refuses an invalid id, fetches a remote bundle
        try:
            with self.registry.in_use(bundle_id):
                location = self.registry.location(bundle_id)
                report = await run_gate_process(location, self._recent.user_ids(), self._settings)
        except GateFailedError:
            self._counts["failed"].inc()
            raise
        self._counts["passed" if report.passed else "forced" if force else "refused"].inc()
        gated = GateResult(at=datetime.fromtimestamp(self._clock(), UTC), report=report)
        await asyncio.to_thread(self.registry.save_gate_report, bundle_id, gated)
        return report


async def run_gate_process(location: str, user_ids: Sequence[str], settings: BundleSettings) -> GateReport:
    """The report on the bundle at a path or URL, compared with the published one by the recommendations of `user_ids`.

    The process has a low priority, so that it delays no requests. GateFailedError where it ends without a report.
    """
    limits = [word for limit in limits_as_arguments(settings.gate) for word in ("--limit", limit)]
    command = (sys.executable, "-m", "index", "gate", location, "--json", "--replay", "-", *limits)
    if settings.registry_copies is not None:
        command += ("--copies", str(settings.registry_copies))
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, process.pid, NICENESS)
    stdin = "\n".join(user_id for user_id in user_ids if "\n" not in user_id).encode()
    try:
        stdout, stderr = await asyncio.wait_for(process.communicate(stdin), settings.gate_timeout_s)
    except TimeoutError:
        raise GateFailedError(f"the gate took longer than {settings.gate_timeout_s:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    try:
        return GateReport.model_validate_json(stdout)
    except ValidationError:
        reason = stderr.decode(errors="replace").strip()[-STDERR_CHARS:] or "it printed nothing"
        raise GateFailedError(f"the gate ended with status {process.returncode}: {reason}") from None


def report_json(report: GateReport) -> dict[str, object]:
    """The report as the JSON object of a response."""
    return {"passed": report.passed, **json.loads(report.model_dump_json())}
