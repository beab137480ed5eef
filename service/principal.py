"""Who calls, and what they may do."""

from dataclasses import dataclass
from typing import Literal, get_args

from starlette.types import Scope

from service.errors import ForbiddenError

Role = Literal["read", "write", "admin"]

PRINCIPAL = "principal"  # where it stands in the ASGI scope
RANK = {role: rank for rank, role in enumerate(get_args(Role))}  # each role may also do what those before it may


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller by the name of its key, never the key itself."""

    name: str
    role: Role


ANONYMOUS = Principal("anybody", "write")
"""Whoever calls a service that asks for no keys."""

ANONYMOUS_ADMIN = Principal("anybody", "admin")
"""The same, where the operator opened the admin calls too."""


def principal_of(scope: Scope) -> Principal:
    """Who sent the request."""
    found: Principal = scope.get(PRINCIPAL, ANONYMOUS)
    return found


def require(principal: Principal, role: Role) -> None:
    """ForbiddenError where the principal may not do what the role may."""
    if RANK[principal.role] >= RANK[role]:
        return
    if principal is ANONYMOUS:
        raise ForbiddenError(
            f"this is for callers of role {role}: give them keys (RECO_API_KEYS_FILE), or open it (RECO_ADMIN_OPEN)"
        )
    raise ForbiddenError(f"this needs a key of role {role}; {principal.name!r} has role {principal.role}")
