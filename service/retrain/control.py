"""What replicas agree on: which of them leads, and which jobs there are. SQLite for one, Redis for several."""

from collections.abc import Sequence
from typing import Literal, Protocol

from service.errors import ServiceError
from service.retrain.job import Job

KEPT_JOBS = 200  # ended ones beyond that are forgotten, oldest first

Word = Literal["cancel", "result"]


class ControlUnavailableError(ServiceError):
    """The store of jobs cannot be read or written now; nothing was changed."""

    status = 503
    code = "control_unavailable"


class Control(Protocol):
    """Every method may raise ControlUnavailableError.

    The leader is whoever holds the lease; its token is higher than that of every leader before it, and a write with an
    older token is refused. So one that lost the lease without noticing cannot undo what its successor wrote.
    """

    async def lead(self, ttl_s: float) -> int | None:
        """Take the lease where nobody holds it; the token, or None."""
        ...

    async def renew(self, token: int, ttl_s: float) -> bool:
        """Keep the lease for ttl_s from now; False where it was lost."""
        ...

    async def leave(self, token: int) -> None:
        """Give the lease up, if it is still held by the token."""
        ...

    async def submit(self, job: Job) -> Job | None:
        """Add the job as the one that runs; or, where one runs already, change nothing and return that one."""
        ...

    async def save(self, job: Job, token: int) -> bool:
        """Replace the record; one that has ended makes room for the next. False where the lease was lost."""
        ...

    async def running(self) -> Job | None:
        """The job that has not ended."""
        ...

    async def find(self, job_id: str) -> Job | None:
        """One job."""
        ...

    async def newest(self, limit: int) -> Sequence[Job]:
        """Jobs, newest first."""
        ...

    async def tell(self, job_id: str, word: Word, text: str) -> None:
        """Leave word for whoever works on the job. Of several of one kind the first counts."""
        ...

    async def told(self, job_id: str) -> dict[str, str]:
        """All that was left for the job."""
        ...

    async def close(self) -> None:
        """Let go of files and connections."""
        ...
