"""Errors of experiments, as callers get them."""

from service.errors import ServiceError


class UnknownExperimentError(ServiceError):
    """The registry has no experiment of this name."""

    status = 404
    code = "unknown_experiment"


class UnknownPhaseError(ServiceError):
    """The experiment has no phase of this number, or its report is no longer kept."""

    status = 404
    code = "unknown_phase"


class UnknownArmError(ServiceError):
    """The running experiment has no arm of this name, or none runs."""

    status = 404
    code = "unknown_arm"


class ArmUnavailableError(ServiceError):
    """The arm has ended, or its bundle does not serve in this process."""

    status = 409
    code = "arm_unavailable"


class ExperimentConflictError(ServiceError):
    """The change contradicts the experiment that runs, or one that ended; nothing was changed."""

    status = 409
    code = "experiment_conflict"
