"""What the exposed users of one arm did, as sums over users: all that the statistics of an experiment need."""

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class ArmTotals:
    """Sums over the exposed users of one arm: of what each did, of its squares, and of a product.

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
    shown_clicks: float = 0.0
    revenue_squared: float = 0.0

    def plus(self, other: "ArmTotals") -> "ArmTotals":
        """The sums over the users of both."""
        names = (field.name for field in fields(self))
        return ArmTotals(**{name: getattr(self, name) + getattr(other, name) for name in names})
