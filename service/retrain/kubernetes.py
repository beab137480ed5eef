"""Trainings as Kubernetes Jobs, made from the template of a CronJob that the operator wrote.

Imported only where it is asked for: it needs the extra `kubernetes`, and its client takes a second to import.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from kubernetes.client import ApiClient, BatchV1Api, Configuration, CoreV1Api, V1Job, V1ObjectMeta
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException, load_incluster_config, new_client_from_config
from urllib3.exceptions import HTTPError

from index.errors import InputError
from service.retrain.job import Handle
from service.retrain.launcher import Ended, LauncherError, LauncherUnavailableError, Task, made

T = TypeVar("T")

TIMEOUT_S = 10.0
LABEL = "anchorrec.io/retrain-job"
NOT_FOUND, CONFLICT, SERVER_ERROR = 404, 409, 500


class GoneError(LauncherError):
    """The API has no such object."""


class KubernetesLauncher:
    """Creates a Job named after ours in the CronJob's namespace, with the trainer's arguments behind its own.

    The Job's pod must see the data, the registry and the service's data folder under the same paths. The client is
    synchronous and runs in threads.
    """

    name = "kubernetes"

    def __init__(self, namespace: str, cron_job: str, *, config_file: Path | None) -> None:
        self._namespace, self._cron_job = namespace, cron_job
        self._client = _client(config_file)

    async def start(self, task: Task) -> Handle:
        """See Launcher. The Job's name is fixed, so that a second call finds it there."""
        name = f"{self._cron_job}-{task.job.id}"[:63]
        await self._ask(lambda: self._create(name, task))
        return {"job": name, "namespace": self._namespace}

    async def ended(self, task: Task, handle: Handle, told: Mapping[str, str]) -> Ended | None:
        """See Launcher."""
        try:
            status = await self._ask(lambda: self._read(str(handle["job"])))
        except GoneError:
            return made(task, f"lost: the Job {handle['job']} is gone")
        for condition in status.get("conditions") or ():
            if condition["status"] == "True" and condition["type"] in ("Complete", "Failed"):
                said = f"{condition.get('reason') or ''} {condition.get('message') or ''}".strip()
                return made(task, f"the Job {handle['job']} ended ({condition['type']}) without a bundle: {said}")
        return None

    async def tail(self, task: Task, handle: Handle | None, lines: int) -> Sequence[str]:
        """See Launcher. Of the newest pod."""
        if handle is None or not lines:
            return []
        try:
            return await self._ask(lambda: self._log(str(handle["job"]), lines))
        except (LauncherError, LauncherUnavailableError) as error:
            return [f"no log: {error.detail}"]

    async def cancel(self, task: Task, handle: Handle) -> None:
        """See Launcher. The Job's pods go with it."""
        try:
            await self._ask(lambda: self._delete(str(handle["job"])))
        except GoneError:
            return

    async def close(self) -> None:
        """See Launcher."""
        await asyncio.to_thread(self._client.close)

    def _create(self, name: str, task: Task) -> None:
        api: Any = BatchV1Api(self._client)
        cron_job = api.read_namespaced_cron_job(self._cron_job, self._namespace, _request_timeout=TIMEOUT_S)
        template = cron_job.spec.job_template
        container = template.spec.template.spec.containers[0]
        container.args = [*(container.args or ()), *task.arguments]
        given = template.metadata or V1ObjectMeta()
        metadata = V1ObjectMeta(
            name=name, labels={**(given.labels or {}), LABEL: task.job.id}, annotations=given.annotations
        )
        job = V1Job(api_version="batch/v1", kind="Job", metadata=metadata, spec=template.spec)
        try:
            api.create_namespaced_job(self._namespace, job, _request_timeout=TIMEOUT_S)
        except ApiException as error:
            if error.status != CONFLICT:  # it is there: we were killed before we could note it
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
        # As bytes: of a text some versions of the client make the spelling of its bytes.
        log = api.read_namespaced_pod_log(
            newest.metadata.name, self._namespace, tail_lines=lines, _request_timeout=TIMEOUT_S, _preload_content=False
        )
        text: bytes = log.data
        return text.decode(errors="replace").splitlines()

    def _delete(self, name: str) -> None:
        BatchV1Api(self._client).delete_namespaced_job(
            name, self._namespace, propagation_policy="Background", _request_timeout=TIMEOUT_S
        )

    async def _ask(self, work: Callable[[], T]) -> T:
        """What the API answers; LauncherError for what it refuses, LauncherUnavailableError where it is away."""
        try:
            return await asyncio.to_thread(work)
        except ApiException as error:
            said = f"the Kubernetes API answered {error.status}: {error.reason}"
            if error.status is None or error.status >= SERVER_ERROR:
                raise LauncherUnavailableError(said) from None
            raise (GoneError if error.status == NOT_FOUND else LauncherError)(said) from None
        except (HTTPError, OSError) as error:
            raise LauncherUnavailableError(f"the Kubernetes API does not answer: {error!r:.200}") from None


def _client(config_file: Path | None) -> ApiClient:
    """By the kubeconfig, or by the account of the pod that we run in; InputError says what is missing."""
    try:
        if config_file is not None:
            client: ApiClient = new_client_from_config(str(config_file))
            return client
        configuration = Configuration()
        load_incluster_config(configuration)
        return ApiClient(configuration)
    except ConfigException as error:
        raise InputError(f"the Kubernetes API cannot be found: {error}") from None
