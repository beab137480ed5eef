"""How many visitors there are at which time of a load test."""

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class LoadProfile:
    """A course of load: straight lines between points, of the time and of the most visitors as shares of 1."""

    what: str
    peak_users: int
    seconds: float
    course: tuple[tuple[float, float], ...]  # (share of the time, share of the peak), by time

    def scaled(self, peak_users: int | None, seconds: float | None) -> "LoadProfile":
        """The same course with another peak, over another time, where they are given."""
        return replace(self, peak_users=peak_users or self.peak_users, seconds=seconds or self.seconds)

    def users_at(self, share: float) -> int:
        """Visitors when this share of the time has passed; one at least."""
        times, users = zip(*self.course, strict=True)
        return max(1, round(self.peak_users * float(np.interp(share, times, users))))


PROFILES = {
    "smoke": LoadProfile("does it work at all: a few visitors, half a minute", 10, 30, ((0, 1), (1, 1))),
    "steady": LoadProfile("a usual day: up within a minute, then ten minutes", 100, 660, ((0, 0), (0.09, 1), (1, 1))),
    "spike": LoadProfile(
        "ten times as many within seconds, for a minute, and what comes after",
        500,
        360,
        ((0, 0.1), (0.33, 0.1), (0.35, 1), (0.51, 1), (0.53, 0.1), (1, 0.1)),
    ),
    "soak": LoadProfile(
        "what only shows after hours: leaks, full disks, caches", 100, 14_400, ((0, 0), (0.01, 1), (1, 1))
    ),
}
