"""Trainings by an outside system (Airflow, Argo ...) that is told by a signed POST and answers by one."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx
from tenacity import AsyncRetrying, RetryError, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from index.manifest import BundleError
from service.retrain.job import Handle
from service.retrain.launcher import Ended, LauncherError, LauncherUnavailableError, Task
from service.retrain.signature import signed

ATTEMPTS = 6
LONGEST_WAIT_S = 30.0
TIMEOUT_S = 10.0
LOG_IS_ELSEWHERE = "the log is with the system that does the training"


class _PassingError(Exception):
    """An answer after which it makes sense to try again."""


class WebhookLauncher:
    """POSTs {"event": "start" | "cancel", "job": ...}; the job's id is also the idempotency key.

    A training has ended when a result was posted for it, when its folder holds one, or when a bundle appears in the
    registry that was trained on the log up to the job's position.
    """

    name = "webhook"

    def __init__(
        self, url: str, secret: str, *, clock: Callable[[], float], first_wait_s: float = 1.0, attempts: int = ATTEMPTS
    ) -> None:
        self._url, self._secret, self._clock = url, secret, clock
        self._wait = wait_random_exponential(first_wait_s, max=LONGEST_WAIT_S)
        self._attempts = attempts
        self._client = httpx.AsyncClient(timeout=TIMEOUT_S)

    async def start(self, task: Task) -> Handle:
        """See Launcher."""
        await self._send("start", task)
        return {"told": int(self._clock())}

    async def ended(self, task: Task, handle: Handle, told: Mapping[str, str]) -> Ended | None:
        """See Launcher."""
        if "result" in told:
            posted = json.loads(told["result"])
            return Ended(posted.get("bundle"), posted.get("reason", ""))
        bundle = await asyncio.to_thread(_appeared, task)
        return None if bundle is None else Ended(bundle)

    async def tail(self, task: Task, handle: Handle | None, lines: int) -> Sequence[str]:
        """See Launcher."""
        return [LOG_IS_ELSEWHERE]

    async def cancel(self, task: Task, handle: Handle) -> None:
        """See Launcher. Told, and not waited for."""
        await self._send("cancel", task)

    async def close(self) -> None:
        """See Launcher."""
        await self._client.aclose()

    async def _send(self, event: str, task: Task) -> None:
        body = json.dumps(_message(event, task)).encode()
        retrying = AsyncRetrying(
            stop=stop_after_attempt(self._attempts),
            wait=self._wait,
            retry=retry_if_exception_type((_PassingError, httpx.TransportError)),
        )
        try:
            async for attempt in retrying:
                with attempt:
                    await self._post(body, f"{task.job.id}-{event}")
        except RetryError as error:
            last = error.last_attempt.exception()
            raise LauncherUnavailableError(f"no answer from the webhook in {self._attempts} attempts: {last}") from None

    async def _post(self, body: bytes, key: str) -> None:
        # Signed anew at every attempt: the receiver may refuse what is old.
        headers = signed(body, self._secret, self._clock()) | {"Idempotency-Key": key}
        answer = await self._client.post(
            self._url, content=body, headers=headers | {"Content-Type": "application/json"}
        )
        if answer.status_code == httpx.codes.TOO_MANY_REQUESTS or answer.is_server_error:
            raise _PassingError(f"status {answer.status_code}")
        if not answer.is_success:
            raise LauncherError(f"the webhook answered {answer.status_code}: {answer.text[:200]}")


def _message(event: str, task: Task) -> dict[str, Any]:
    return {
        "event": event,
        "job": task.job.id,
        "result_path": f"/retrain/{task.job.id}/result",
        "events_position": task.job.events_position,
        "data": str(task.data),
        "events": str(task.events),
        "registry": str(task.registry),
        "out": str(task.out),
        "arguments": task.arguments,
    }


def _appeared(task: Task) -> str | None:
    result = task.result()
    if result is not None:
        return str(result["bundle"])
    for bundle_id in task.registry.ids():
        if bundle_id not in task.job.bundles_before:
            try:
                position = task.registry.manifest(bundle_id).events_position
            except BundleError:  # the gate would say so of this job's own
                continue
            if position is not None and position >= task.job.events_position:
                return bundle_id
    return None
