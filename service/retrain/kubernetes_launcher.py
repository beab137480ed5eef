"""Runs trainings as Kubernetes Jobs, created from the template of a CronJob that the operator wrote.

Imported only where it is configured: it needs the extra `kubernetes`, and its client takes a second to import.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from kubernetes.client import ApiClient, BatchV1Api, Configuration, CoreV1Api, V1Job, V1ObjectMeta
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException, load_incluster_config, new_client_from_config
from urllib3 import HTTPResponse
from urllib3.exceptions import HTTPError

from index.errors import InputError
from service.retrain.job import Handle
from service.retrain.launcher import (
    LauncherError,
    LauncherUnavailableError,
    TrainingOutcome,
    TrainingTask,
    read_outcome,
)

T = TypeVar("T")

TIMEOUT_S = 10.0  # until the API begins to answer
TOTAL_S = 20.0  # for a whole call, however slowly its answers come
THREADS = 4  # of their own: one that an API holds up delays no other work
MAX_ANSWER_BYTES = 8_000_000
LOG_BYTES = 256 * 1024
NAME_CHARS = 63  # of a Job, at most
LABEL = "anchorrec.io/retrain-job"
NOT_FOUND, CONFLICT, SERVER_ERROR = 404, 409, 500


class _NotFoundError(LauncherError):
    """The API has no such object."""


class KubernetesLauncher:
    """Creates a Job in the CronJob's namespace, with the trainer's arguments after those of the template.

    The Job's pod must have the data, the registry and the service's data folder at the same paths. The client is
    synchronous and runs in threads.
    """

    name = "kubernetes"

    def __init__(self, namespace: str, cron_job: str, *, config_file: Path | None) -> None:
        self._namespace, self._cron_job = namespace, cron_job
        self._client = _client(config_file)
        pool_manager = self._client.rest_client.pool_manager
        pool_manager.request = partial(_request_limited, pool_manager.request)
        self._threads = ThreadPoolExecutor(THREADS, "kubernetes")

    async def start(self, task: TrainingTask) -> Handle:
        """Create the Job. Its name derives from the job's id, so that a second call finds the first one's Job."""
        handle = self._handle(task)
        await self._call_api(lambda: self._create(str(handle["job"]), task))
        return handle

    async def find(self, task: TrainingTask) -> Handle | None:
        return self._handle(task)

    def _handle(self, task: TrainingTask) -> Handle:
        prefix = self._cron_job[: NAME_CHARS - len(task.job.id) - 1]  # the id stays whole, or two jobs had one name
        return {"job": f"{prefix}-{task.job.id}", "namespace": self._namespace}

    async def poll(self, task: TrainingTask, handle: Handle, messages: Mapping[str, str]) -> TrainingOutcome | None:
        try:
            status = await self._call_api(lambda: self._read(str(handle["job"])))
        except _NotFoundError:
            return read_outcome(task, f"lost: the Job {handle['job']} is gone")
        for condition in status.get("conditions") or ():
            if condition["status"] == "True" and condition["type"] in ("Complete", "Failed"):
                detail = f"{condition.get('reason') or ''} {condition.get('message') or ''}".strip()
                return read_outcome(
                    task, f"the Job {handle['job']} ended ({condition['type']}) without a bundle: {detail}"
                )
        return None

    async def log_tail(self, task: TrainingTask, handle: Handle | None, lines: int) -> Sequence[str]:
        """The last lines of the newest pod's log."""
        if handle is None or not lines:
            return []
        try:
            return await self._call_api(lambda: self._log(str(handle["job"]), lines))
        except (LauncherError, LauncherUnavailableError) as error:
            return [f"no log: {error.detail}"]

    async def cancel(self, task: TrainingTask, handle: Handle) -> None:
        """Delete the Job and, in the background, its pods."""
        try:
            await self._call_api(lambda: self._delete(str(handle["job"])))
        except _NotFoundError:
            return

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._client.close)

    def _create(self, name: str, task: TrainingTask) -> None:
        api: Any = BatchV1Api(self._client)
        cron_job = api.read_namespaced_cron_job(self._cron_job, self._namespace, _request_timeout=TIMEOUT_S)
        template = cron_job.spec.job_template
        container = template.spec.template.spec.containers[0]
        container.args = [*(container.args or ()), *task.arguments]
        template_metadata = template.metadata or V1ObjectMeta()
        metadata = V1ObjectMeta(
            name=name,
            labels={**(template_metadata.labels or {}), LABEL: task.job.id},
            annotations=template_metadata.annotations,
        )
        job = V1Job(api_version="batch/v1", kind="Job", metadata=metadata, spec=template.spec)
        try:
            api.create_namespaced_job(self._namespace, job, _request_timeout=TIMEOUT_S)
        except ApiException as error:
            if error.status != CONFLICT:  # created already: the service died before it stored the handle
                raise

    def _read(self, name: str) -> dict[str, Any]:
        api: Any = BatchV1Api(self._client)
        job = api.read_namespaced_job_status(name, self._namespace, _request_timeout=TIMEOUT_S)
        status: dict[str, Any] = job.status.to_dict()
        return status

    def _log(self, name: str, lines: int) -> list[str]:
        api: Any = CoreV1Api(self._client)
        pods = api.list_namespaced_pod(
            self._namespace, label_selector=f"job-name={name}", _request_timeout=TIMEOUT_S
        ).items
        if not pods:
            return []
        newest = max(pods, key=lambda pod: str(pod.metadata.creation_timestamp))
        # As bytes: some versions of the client return a text as the repr of its bytes.
        log = api.read_namespaced_pod_log(
            newest.metadata.name,
            self._namespace,
            tail_lines=lines,
            limit_bytes=LOG_BYTES,
            _request_timeout=TIMEOUT_S,
            _preload_content=False,
        )
        text: bytes = log.data
        return text.decode(errors="replace").splitlines()

    def _delete(self, name: str) -> None:
        BatchV1Api(self._client).delete_namespaced_job(
            name, self._namespace, propagation_policy="Background", _request_timeout=TIMEOUT_S
        )

    async def _call_api(self, work: Callable[[], T]) -> T:
        """Run the call in a thread. LauncherError where the API refuses it; LauncherUnavailableError: retry later."""
        try:
            async with asyncio.timeout(TOTAL_S):
                return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except ApiException as error:
            detail = f"the Kubernetes API answered {error.status}: {error.reason}"
            if error.status is None or error.status >= SERVER_ERROR:
                raise LauncherUnavailableError(detail) from None
            raise (_NotFoundError if error.status == NOT_FOUND else LauncherError)(detail) from None
        except (HTTPError, OSError) as error:
            raise LauncherUnavailableError(f"the Kubernetes API does not respond: {error!r:.200}") from None


def _request_limited(request: Callable[..., Any], method: str, url: str, **options: Any) -> HTTPResponse:
    """Send a request by urllib3, to no other server, and read no more of the response than the limit."""
    response = request(method, url, **options | {"preload_content": False, "redirect": False})
    try:
        data = response.read(MAX_ANSWER_BYTES + 1, decode_content=True)
    finally:
        response.close()
    if len(data) > MAX_ANSWER_BYTES:
        raise HTTPError(f"the response is longer than {MAX_ANSWER_BYTES} bytes")
    return HTTPResponse(data, response.headers, response.status, reason=response.reason)


def _client(config_file: Path | None) -> ApiClient:
    """A client for the kubeconfig, or for the service account of our pod; InputError where there is neither."""
    try:
        if config_file is not None:
            client: ApiClient = new_client_from_config(str(config_file))
            return client
        configuration = Configuration()
        load_incluster_config(configuration)
        return ApiClient(configuration)
    except ConfigException as error:
        raise InputError(f"the Kubernetes API cannot be found: {error}") from None
