"""The caller of a request, and the roles that say what it may do."""

from dataclasses import dataclass
from typing import Literal, get_args

from starlette.types import Scope

from service.errors import ForbiddenError

Role = Literal["read", "write", "admin"]

# Keys of the ASGI scope. The caller is who is rate limited: the name of a key, without keys a client address.
PRINCIPAL, CALLER = "principal", "caller"
RANK = {role: rank for rank, role in enumerate(get_args(Role))}  # each role includes those before it
LOWEST_ROLE: Role = "read"


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller, by the name of its key."""

    name: str
    role: Role


ANONYMOUS = Principal("anybody", "write")
"""Any caller of a service without API keys."""

ANONYMOUS_ADMIN = Principal("anybody", "admin")
"""Any caller of a service without API keys whose operator opened the admin routes."""


def principal_of(scope: Scope) -> Principal:
    """The caller of a request."""
    principal: Principal = scope.get(PRINCIPAL, ANONYMOUS)
    return principal


def may(principal: Principal, role: Role) -> bool:
    """Whether the principal's role includes this one."""
    return RANK[principal.role] >= RANK[role]


def require(principal: Principal, role: Role) -> None:
    """ForbiddenError where the principal's role does not include this one."""
    if may(principal, role):
        return
    if principal is ANONYMOUS:
        raise ForbiddenError(
            f"this needs role {role}: configure API keys (RECO_API_KEYS_FILE), or open admin routes (RECO_ADMIN_OPEN)"
        )
    raise ForbiddenError(f"this needs a key of role {role}; {principal.name!r} has role {principal.role}")
