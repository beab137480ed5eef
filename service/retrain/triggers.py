"""When a retraining starts automatically: after a number of new events, or on a schedule."""

from dataclasses import dataclass
from datetime import UTC, datetime

from croniter import croniter

from service.retrain.job import Job, Trigger


@dataclass(frozen=True)
class Triggers:
    """The configured triggers; the schedule is a cron expression in UTC."""

    after_events: int | None = None
    schedule: str | None = None

    @property
    def configured(self) -> bool:
        """Whether there is any trigger."""
        return self.after_events is not None or self.schedule is not None

    def due(self, *, new_events: int, last: Job | None, since: float, now: float) -> Trigger | None:
        """The trigger that is due now, if any.

        Args:
            new_events: since the position of the last job, or else of the bundle that serves.
            last: the newest job, in any state.
            since: when this replica began to lead; the schedule counts from it where there was never a job. Of
                several scheduled times that were missed while no service ran, one is made up for.
        """
        if self.after_events is not None and new_events >= self.after_events:
            return "events"
        if self.schedule is not None:
            last_start = since if last is None else last.created_at
            due_at = croniter(self.schedule, datetime.fromtimestamp(last_start, UTC)).get_next(datetime)
            if due_at.timestamp() <= now:
                return "schedule"
        return None
