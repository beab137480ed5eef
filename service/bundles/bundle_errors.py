"""The errors of publishing, swapping and rolling back bundles."""

from index.gate_report import GateReport
from service.bundles.gate_process import report_json
from service.errors import ServiceError


class UnknownBundleError(ServiceError):
    """The registry has no such bundle."""

    status = 404
    code = "unknown_bundle"


class GateRefusedError(ServiceError):
    """The gate refused the bundle; the bundle that serves stays. The response contains the gate's report."""

    status = 409
    code = "gate_refused"

    def __init__(self, report: GateReport) -> None:
        failed = "; ".join(f"{check.name}: {check.found} (required: {check.required})" for check in report.failures)
        super().__init__(f"{report.bundle_id} failed {len(report.failures)} of {len(report.checks)} checks: {failed}")
        self.more = {"gate": report_json(report)}


class SwapFailedError(ServiceError):
    """This process cannot serve the bundle; the bundle that serves stays."""

    status = 409
    code = "swap_failed"


class RollbackRefusedError(ServiceError):
    """There is no earlier bundle to roll back to, or it must not serve."""

    status = 409
    code = "rollback_refused"


class PublishingBusyError(ServiceError):
    """Another publish or rollback is running in this process."""

    status = 409
    code = "publishing"


class UnreadableBundleError(ServiceError):
    """A bundle cannot be opened for a comparison; what serves is not concerned."""

    status = 409
    code = "unreadable_bundle"


class ComparisonBusyError(ServiceError):
    """One comparison of bundles is running in this process, and another one waits."""

    status = 429
    code = "comparing"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"Retry-After": "5"})


class RegistryError(ServiceError):
    """The registry cannot be read or written now; it is unchanged."""

    status = 503
    code = "registry_unavailable"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"Retry-After": "5"})
