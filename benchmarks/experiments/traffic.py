"""Simulates the traffic of an experiment: users who arrive over the days, come back, click, and a few of whom buy."""

from dataclasses import dataclass

import numpy as np

from service.events.arm_totals import ArmTotals

LIST_LENGTH = 10
CLICKED = 1.0, 19.0  # Beta of a user's clicks per impression: 5 % on average, and as much of standard deviation
RETURNING = 1.0, 6.0  # Beta of a user's probability to come back on a day
BUYERS = 0.03  # share of users
BUYS = 0.3  # on a buyer's day
ORDER_OF_USER, ORDER = 0.7, 1.0  # standard deviations of an order's logarithm: between users, and of one user


@dataclass(frozen=True)
class Traffic:
    """An experiment of `users` users who arrive over `days` days; all arms but the first have the true `lift`.

    The lift is relative and raises clicks per impression, the share of buyers, and so the revenue, alike.
    """

    users: int = 50_000
    days: int = 30
    weights: tuple[float, ...] = (0.5, 0.5)
    lift: float = 0.0
    returning: bool = True

    def totals(self, rng: np.random.Generator) -> list[list[ArmTotals]]:
        """The totals of every arm after each day: `[day][arm]`."""
        n, days = self.users, np.arange(self.days)[:, None]
        of_arms = rng.multinomial(n, self.weights)
        more = np.repeat([1.0, *[1 + self.lift] * (len(of_arms) - 1)], of_arms)
        arrived = rng.integers(0, self.days, n)
        visits = rng.random((self.days, n)) < self.returning * rng.beta(*RETURNING, n)
        day, user = np.nonzero((visits & (days > arrived)) | (days == arrived))
        shown = LIST_LENGTH * (1 + rng.poisson(1.0, len(user)))
        clicks = rng.binomial(shown, np.minimum(rng.beta(*CLICKED, n) * more, 1.0)[user])
        bought = (rng.random(n) < BUYERS * more)[user] & (rng.random(len(user)) < BUYS)
        logarithm = rng.normal(3.0, ORDER_OF_USER, n)[user] + rng.normal(0.0, ORDER, len(user))
        by_user = [self._by_user(day, user, of) for of in (shown, clicks, bought, bought * np.exp(logarithm))]
        ends = np.cumsum(of_arms)
        arms = [slice(end - size, end) for end, size in zip(ends, of_arms, strict=True)]
        by_arm = [self._totals(arrived[arm], *(of[:, arm] for of in by_user)) for arm in arms]
        return [list(totals) for totals in zip(*by_arm, strict=True)]

    def _by_user(self, day: np.ndarray, user: np.ndarray, of: np.ndarray) -> np.ndarray:
        by_user = np.zeros((self.days, self.users))
        by_user[day, user] = of
        return by_user.cumsum(axis=0)

    def _totals(self, arrived: np.ndarray, *of_users: np.ndarray) -> list[ArmTotals]:
        shown, clicks, conversions, revenue = of_users  # [day, user], up to and with the day
        sums = [
            np.bincount(arrived, minlength=self.days).cumsum(),
            shown.sum(axis=1),
            clicks.sum(axis=1),
            (conversions > 0).sum(axis=1),
            conversions.sum(axis=1),
            revenue.sum(axis=1),
            *(_products(*of) for of in ((shown, shown), (clicks, clicks), (shown, clicks), (revenue, revenue))),
        ]
        return [ArmTotals(int(users), *map(float, rest)) for users, *rest in zip(*sums, strict=True)]


def _products(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    products: np.ndarray = np.einsum("du,du->d", x, y)  # [day]
    return products
