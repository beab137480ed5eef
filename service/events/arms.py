"""What both logs count by arm of an experiment and by user, in the transaction that adds an event.

* A user is exposed to an arm by the first impression that names both; only exposed users count.
* What a user was shown and clicked is that of answers, as in quality.py: an answer belongs to the user and the arm of
  its first impression that names both. Impressions without a request id add their items, explored ones none.
* A conversion counts for the arm that its event names, with or without a request id, if its user was exposed before.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import fields

from service.events.arm_totals import ArmTotals
from service.events.event import EXPLORED_ID, IMPRESSION, THOUSAND, Event

SUMS_KEPT_DAYS = 400  # of an arm that got no event; its users' rows are removed after the retention of events
MOMENTS = tuple(field.name for field in fields(ArmTotals))  # as the logs store them, with revenue in thousandths
_UNITS = {"revenue": THOUSAND, "revenue_squared": THOUSAND**2}


def totals_of(stored: Mapping[str, float]) -> ArmTotals:
    """The totals of what a log has stored of an arm."""
    found = {name: stored.get(name, 0.0) / _UNITS.get(name, 1) for name in MOMENTS}
    return ArmTotals(**found | {"users": round(found["users"])})  # type: ignore[arg-type]


def counts_for_arm(event: Event) -> bool:
    """Whether the event may count for the arm that it names."""
    if event.arm is None or not event.user_id:
        return False
    return event.kind != IMPRESSION or event.request_id is not None or not event.event_id.startswith(EXPLORED_ID)


def person_of(user_id: str) -> str:
    """A digest under which Redis counts a user, so that neither these rows nor answers hold ids."""
    return hashlib.blake2b(user_id.encode(), digest_size=12).hexdigest()
