"""What is done for a route of admins beside answering: it may stand on a port of its own, and is written down."""

from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import PATIENT, ServiceError, request_id_of
from service.http.security.audit import Audit
from service.principal import ANONYMOUS, principal_of

READING = ("GET", "HEAD")


class AdminPortOnly:
    """Answers on one port; on any other the route is not there."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self._port = port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or say that there is no such route."""
        if scope["server"][1] != self._port:
            raise HTTPException(404)
        await self._app(scope, receive, send)


class Audited:
    """Tells the audit log of each call: before it, where it would change something, and when it has been answered.

    The call may take as long as it takes. Callers without a key are none of this: they are refused.
    """

    def __init__(self, app: ASGIApp, audit: Audit) -> None:
        self._app = app
        self._audit = audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call."""
        scope[PATIENT] = True
        if principal_of(scope) is ANONYMOUS:
            await self._app(scope, receive, send)
            return
        facts = _facts(scope)
        if scope["method"] not in READING:
            await self._audit.record("asked", **facts)
        await self._answer(scope, receive, send, facts)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, facts: dict[str, Any]) -> None:
        outcome: dict[str, Any] = {"status": 500, "error": "failed"}

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                outcome.update(status=message["status"], error=None)
            await send(message)

        try:
            await self._app(scope, receive, noting)
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
        "from": client[0] if client else None,
        "method": scope["method"],
        "path": scope["path"][:200],
        "request_id": request_id_of(scope),
    }
