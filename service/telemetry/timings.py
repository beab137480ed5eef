"""How long each stage of a request takes: for its Server-Timing header, for metrics and for traces."""

from collections.abc import Callable
from dataclasses import dataclass, field

TIMINGS = "stages"  # where the stages stand in the ASGI scope


@dataclass(slots=True)
class Timings:
    """How long each stage of one request took; becomes the Server-Timing header."""

    clock: Callable[[], float]
    start: float = 0.0
    last: float = 0.0
    marks: list[tuple[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Start the clock."""
        self.start = self.last = self.clock()

    def mark(self, stage: str) -> None:
        """End a stage that began at the last mark."""
        now = self.clock()
        self.marks.append((stage, now - self.last))
        self.last = now

    def header(self) -> bytes:
        """`user;dur=0.21, search;dur=0.11, total;dur=0.48`, in milliseconds."""
        spans = [*self.marks, ("total", self.clock() - self.start)]
        return ", ".join(f"{name};dur={seconds * 1000:.3f}" for name, seconds in spans).encode()
