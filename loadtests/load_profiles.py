"""Load profiles: the number of visitors over the course of a load test."""

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class LoadProfile:
    """A course of load: straight lines between points, given as shares of the duration and of the peak."""

    what: str
    peak_users: int
    seconds: float
    course: tuple[tuple[float, float], ...]  # (share of the duration, share of the peak), ascending

    def scaled(self, peak_users: int | None, seconds: float | None) -> "LoadProfile":
        """Return the same course with another peak or another duration, where they are given."""
        return replace(self, peak_users=peak_users or self.peak_users, seconds=seconds or self.seconds)

    def users_at(self, share: float) -> int:
        """Return the number of visitors after this share of the duration; at least one."""
        times, users = zip(*self.course, strict=True)
        return max(1, round(self.peak_users * float(np.interp(share, times, users))))


PROFILES = {
    "smoke": LoadProfile("does it work at all: a few visitors, half a minute", 10, 30, ((0, 1), (1, 1))),
    "steady": LoadProfile("a usual day: up within a minute, then ten minutes", 100, 660, ((0, 0), (0.09, 1), (1, 1))),
    "spike": LoadProfile(
        "ten times as many visitors within seconds, for a minute, and the recovery",
        500,
        360,
        ((0, 0.1), (0.33, 0.1), (0.35, 1), (0.51, 1), (0.53, 0.1), (1, 0.1)),
    ),
    "soak": LoadProfile("what shows only after hours: leaks, full disks, caches", 100, 14_400,
                        ((0, 0), (0.01, 1), (1, 1))),
}  # fmt: skip
