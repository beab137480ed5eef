"""Wraps the routes of admins: on a port of their own, and with an audit log of each request."""

from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import NO_TIMEOUT, ServiceError, request_id_of
from service.http.addresses import canonical
from service.http.security.audit import Audit, AuditError
from service.principal import ANONYMOUS, may, principal_of

READ_METHODS = ("GET", "HEAD")


class AdminPortOnly:
    """A route that exists on one port only; on any other port it is a 404."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self._port = port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["server"][1] != self._port:
            raise HTTPException(404)
        await self._app(scope, receive, send)


class AuditedRoute:
    """A route whose requests the audit log records: before one that may change something, and before each answer.

    These requests have no timeout. Of callers whom the route refuses, anonymous ones are not recorded, and others no
    more often than the audit log admits.
    """

    def __init__(self, app: ASGIApp, audit: Audit) -> None:
        self._app = app
        self._audit = audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[NO_TIMEOUT] = True
        principal = principal_of(scope)
        is_refused = not may(principal, "admin")
        if principal is ANONYMOUS or (is_refused and not self._audit.admits_refusal(principal.name)):
            await self._app(scope, receive, send)
            return
        facts = _facts(scope)
        changes = scope["method"] not in READ_METHODS
        if changes:
            await self._audit.record("asked", **facts)
        await self._respond(scope, receive, _AuditedSend(send, self._audit, facts, changes=changes))

    async def _respond(self, scope: Scope, receive: Receive, send: "_AuditedSend") -> None:
        error = "failed", 500
        try:
            await self._app(scope, receive, send)
        except ServiceError as refusal:
            error = refusal.code, refusal.status
            raise
        finally:
            await send.record(*error)


class _AuditedSend:
    """Sends a response once its line is written; a change that was made is answered even where that fails."""

    def __init__(self, send: Send, audit: Audit, facts: dict[str, Any], *, changes: bool) -> None:
        self._send = send
        self._audit = audit
        self._facts = facts
        self._changes = changes
        self._recorded = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self.record(None, message["status"])
        await self._send(message)

    async def record(self, error: str | None, status: int) -> None:
        """Write the line of the response, once."""
        if self._recorded:
            return
        self._recorded = True
        try:
            await self._audit.record("answered", **self._facts, status=status, error=error)
        except AuditError:
            if not self._changes:
                raise


def _facts(scope: Scope) -> dict[str, Any]:
    principal, client = principal_of(scope), scope.get("client")
    return {
        "who": principal.name,
        "role": principal.role,
        "from": canonical(client[0]) if client else None,
        "method": scope["method"],
        "path": scope["path"][:200],
        "request_id": request_id_of(scope),
    }
