"""When a retraining begins by itself."""

from dataclasses import dataclass
from datetime import UTC, datetime

from croniter import croniter

from service.retrain.job import Job, Trigger


@dataclass(frozen=True)
class Triggers:
    """What the operator asked for; the schedule is a cron expression in UTC."""

    after_events: int | None = None
    schedule: str | None = None

    @property
    def any(self) -> bool:
        """Whether there is anything to watch."""
        return self.after_events is not None or self.schedule is not None

    def due(self, *, new_events: int, last: Job | None, since: float, now: float) -> Trigger | None:
        """What calls for a job now, if anything.

        Args:
            new_events: since the position of the last job, or else of the bundle that serves.
            last: the newest job, however it ended.
            since: when this watch began; counts where there was never a job. Of the times that passed after the last
                job, while no service ran, one is made up for.
        """
        if self.after_events is not None and new_events >= self.after_events:
            return "events"
        if self.schedule is not None:
            begun = since if last is None else last.created_at
            due_at = croniter(self.schedule, datetime.fromtimestamp(begun, UTC)).get_next(datetime)
            if due_at.timestamp() <= now:
                return "schedule"
        return None
