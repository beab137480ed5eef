"""Times the stages of a request for its Server-Timing header, metrics and traces."""

from collections.abc import Callable
from dataclasses import dataclass, field

# Keys in the ASGI scope.
TIMINGS = "stages"
ARM = "arm"  # `experiment` and `arm` of a request that an arm answers, for its trace and its line in the log


@dataclass(slots=True)
class Timings:
    """The durations of the stages of one request."""

    clock: Callable[[], float]
    start: float = 0.0
    last: float = 0.0
    marks: list[tuple[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.start = self.last = self.clock()

    def mark(self, stage: str) -> None:
        """End a stage that began at the previous mark."""
        now = self.clock()
        self.marks.append((stage, now - self.last))
        self.last = now

    def header(self) -> bytes:
        """The Server-Timing header, in milliseconds: `user;dur=0.21, search;dur=0.11, total;dur=0.48`."""
        spans = [*self.marks, ("total", self.clock() - self.start)]
        return ", ".join(f"{name};dur={seconds * 1000:.3f}" for name, seconds in spans).encode()
