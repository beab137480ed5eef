"""The interface of the store that replicas share: retraining jobs, messages to them, and the leader's lease."""

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from pydantic import ConfigDict, Field, ValidationError

from service.errors import ServiceError
from service.retrain.job import Job

END_OF_TIME = 253_402_300_799.0  # the last second that a datetime can be made of
MAX_JOBS = 200  # beyond it the oldest ended jobs are deleted

MessageKind = Literal["cancel", "result"]


class JobStoreUnavailableError(ServiceError):
    """The job store cannot be read or written now; nothing was changed."""

    status = 503
    code = "control_unavailable"


OnUnreadable = Callable[[Exception], None]
"""Called with the error of a record that cannot be read."""


def ignore_unreadable(_: Exception) -> None:
    """An OnUnreadable that does nothing."""


class _StoredJob(Job):
    """A record of this or, during a rolling update, a later version; checked, as other programs may write records."""

    model_config = ConfigDict(extra="ignore")

    id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,128}$")  # the name of a folder that is deleted later
    created_at: float = Field(ge=0, le=END_OF_TIME)


def parse_job(record: str | bytes, on_unreadable: OnUnreadable) -> Job | None:
    """The job of a stored record; None, reported, where the record is none."""
    try:
        return Job.model_construct(**dict(_StoredJob.model_validate_json(record)))
    except ValidationError as error:
        on_unreadable(error)
        return None


class JobStore(Protocol):
    """Every method may raise JobStoreUnavailableError. A record that cannot be read stays stored, and is no job.

    The replica that holds the lease is the leader. Its token is higher than that of every leader before it, and a
    write with an older token is refused: a replica that lost the lease unnoticed cannot overwrite its successor's work.
    """

    async def acquire_lease(self, ttl_s: float) -> int | None:
        """Take the lease if it is free; return its token, or None."""
        ...

    async def renew_lease(self, token: int, ttl_s: float) -> bool:
        """Extend the lease to ttl_s from now; False where it was lost."""
        ...

    async def release_lease(self, token: int) -> None:
        """Free the lease if the token still holds it."""
        ...

    async def submit(self, job: Job) -> Job | None:
        """Add the job if none is running; else change nothing and return the running one."""
        ...

    async def save(self, job: Job, token: int) -> bool:
        """Replace the job's record; an ended job makes room for the next. False where the lease was lost."""
        ...

    async def running(self) -> Job | None:
        """The job that has not ended."""
        ...

    async def find(self, job_id: str) -> Job | None: ...

    async def newest(self, limit: int) -> Sequence[Job]:
        """Up to `limit` jobs, newest first."""
        ...

    async def post_message(self, job_id: str, kind: MessageKind, text: str) -> bool:
        """Leave a message for the leader that runs the job. Only the first of each kind is stored; else False."""
        ...

    async def messages(self, job_id: str) -> dict[str, str]:
        """The messages for the job, by kind."""
        ...

    async def close(self) -> None:
        """Close files and connections."""
        ...
