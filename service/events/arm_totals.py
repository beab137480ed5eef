"""What the users of one arm did, as sums and sums of squares: all that the statistics need."""

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class ArmTotals:
    """Sums over the exposed users of one arm; `x_squared` sums the squares of what each user has in all.

    Revenue is in units of the currency. A converter is a user with at least one conversion.
    """

    users: int = 0
    shown: float = 0.0
    clicks: float = 0.0
    converters: float = 0.0
    conversions: float = 0.0
    revenue: float = 0.0
    shown_squared: float = 0.0
    clicks_squared: float = 0.0
    shown_clicks: float = 0.0  # of each user's shown times clicks
    revenue_squared: float = 0.0

    def plus(self, other: "ArmTotals") -> "ArmTotals":
        """The totals of both, which have no user in common."""
        return ArmTotals(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))
