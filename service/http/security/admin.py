"""Wraps the routes of admins: on a port of their own, and with an audit log of each request."""

from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import NO_TIMEOUT, ServiceError, request_id_of
from service.http.addresses import canonical
from service.http.security.audit import Audit
from service.principal import ANONYMOUS, principal_of

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
    """A route whose requests the audit log records: before one that may change something, and after each response.

    These requests have no timeout. The requests of anonymous callers are not recorded, as the route refuses them.
    """

    def __init__(self, app: ASGIApp, audit: Audit) -> None:
        self._app = app
        self._audit = audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[NO_TIMEOUT] = True
        if principal_of(scope) is ANONYMOUS:
            await self._app(scope, receive, send)
            return
        facts = _facts(scope)
        if scope["method"] not in READ_METHODS:
            await self._audit.record("asked", **facts)
        await self._respond(scope, receive, send, facts)

    async def _respond(self, scope: Scope, receive: Receive, send: Send, facts: dict[str, Any]) -> None:
        outcome: dict[str, Any] = {"status": 500, "error": "failed"}

        async def note_status(message: Message) -> None:
            if message["type"] == "http.response.start":
                outcome.update(status=message["status"], error=None)
            await send(message)

        try:
            await self._app(scope, receive, note_status)
        except ServiceError as error:
            outcome.update(status=error.status, error=error.code)
            raise
        finally:
            await self._audit.record("answered", **facts, **outcome)


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
