"""Has trainings run by an outside system (Airflow, Argo ...), which gets signed POSTs and posts the result."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx
from tenacity import AsyncRetrying, RetryError, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from index.errors import BundleError
from service.retrain.job import Handle, result_path
from service.retrain.launcher import LauncherError, LauncherUnavailableError, TrainingOutcome, TrainingTask
from service.retrain.signature import Message, signature_headers

ATTEMPTS = 6
LONGEST_WAIT_S = 30.0
TIMEOUT_S = 10.0  # for the whole exchange, however slowly an answer comes
REASON_BYTES = 1_000  # read of a refusal
NO_LOG = "the log is in the system that runs the training"


class _TransientError(Exception):
    """A response after which a retry may succeed."""


class WebhookLauncher:
    """POSTs {"event": "start" | "cancel", "job": ...}; the job's id is also the idempotency key.

    A training has ended when a result is posted for it, when its folder holds a result file, or when the registry has
    a new bundle that was trained on the log up to the job's position.
    """

    name = "webhook"

    def __init__(
        self, url: str, secret: str, *, clock: Callable[[], float], first_wait_s: float = 1.0, attempts: int = ATTEMPTS
    ) -> None:
        self._url, self._secret, self._clock = url, secret, clock
        self._wait = wait_random_exponential(first_wait_s, max=LONGEST_WAIT_S)
        self._attempts = attempts
        self._client = httpx.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False)

    async def start(self, task: TrainingTask) -> Handle:
        await self._send("start", task)
        return {"told": int(self._clock())}

    async def find(self, task: TrainingTask) -> Handle | None:
        return {"told": 0}  # it may have been told, and may be told once more

    async def poll(self, task: TrainingTask, handle: Handle, messages: Mapping[str, str]) -> TrainingOutcome | None:
        if "result" in messages:
            posted = json.loads(messages["result"])
            return TrainingOutcome(posted.get("bundle"), posted.get("reason", ""))
        bundle = await asyncio.to_thread(_find_bundle, task)
        return None if bundle is None else TrainingOutcome(bundle)

    async def log_tail(self, task: TrainingTask, handle: Handle | None, lines: int) -> Sequence[str]:
        return [NO_LOG]

    async def cancel(self, task: TrainingTask, handle: Handle) -> None:
        """Notify the outside system, without waiting for the training to end."""
        await self._send("cancel", task)

    async def close(self) -> None:
        await self._client.aclose()

    async def _send(self, event: str, task: TrainingTask) -> None:
        body = json.dumps(_message(event, task)).encode()
        retrying = AsyncRetrying(
            stop=stop_after_attempt(self._attempts),
            wait=self._wait,
            retry=retry_if_exception_type((_TransientError, httpx.TransportError, TimeoutError)),
        )
        try:
            async for attempt in retrying:
                with attempt:
                    await self._post(body, f"{task.job.id}-{event}")
        except RetryError as error:
            last = error.last_attempt.exception()
            raise LauncherUnavailableError(
                f"no answer from the webhook in {self._attempts} attempts: {str(last) or type(last).__name__}"
            ) from None

    async def _post(self, body: bytes, key: str) -> None:
        # Each attempt has its own timestamp: the receiver may refuse an old one.
        headers = {"Idempotency-Key": key, "Content-Type": "application/json", "Accept-Encoding": "identity"}
        request = self._client.build_request("POST", self._url, content=body, headers=headers)
        message = Message("POST", request.url.raw_path.decode("ascii"), body)
        request.headers.update(signature_headers(message, self._secret, self._clock()))
        async with asyncio.timeout(TIMEOUT_S):
            response = await self._client.send(request, stream=True)
            try:
                await _require_success(response)
            finally:
                await response.aclose()  # what was not read is not waited for


async def _require_success(response: httpx.Response) -> None:
    """LauncherError with the start of a refusal's text; a redirect is one, as its target was not signed for."""
    if response.status_code == httpx.codes.TOO_MANY_REQUESTS or response.is_server_error:
        raise _TransientError(f"status {response.status_code}")
    if not response.is_success:
        text = (await _start_of(response)).decode(errors="replace")
        raise LauncherError(f"the webhook answered {response.status_code}: {text[:200]}")


async def _start_of(response: httpx.Response) -> bytes:
    read = b""
    async for chunk in response.aiter_raw():
        read += chunk[:REASON_BYTES]
        if len(read) >= REASON_BYTES:
            break
    return read


def _message(event: str, task: TrainingTask) -> dict[str, Any]:
    return {
        "event": event,
        "job": task.job.id,
        "result_path": result_path(task.job.id),
        "events_position": task.job.events_position,
        "data": str(task.data),
        "events": str(task.events),
        "items": str(task.items) if task.items.is_file() else None,
        "registry": str(task.registry),
        "out": str(task.out),
        "arguments": task.arguments,
        "arm": task.job.arm,
    }


def _find_bundle(task: TrainingTask) -> str | None:
    """The bundle in the result file, or a new one in the registry that was trained on the job's events."""
    result = task.read_result()
    if result is not None:
        return str(result["bundle"])
    for bundle_id in task.registry.ids():
        if bundle_id not in task.job.bundles_before:
            try:
                position = task.registry.manifest(bundle_id).events_position
            except BundleError:  # if it is this job's bundle, the gate reports the damage
                continue
            if position is not None and position >= task.job.events_position:
                return bundle_id
    return None
