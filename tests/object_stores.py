"""A real object store for tests: moto's server, which speaks the protocol of S3 over a socket.

With TEST_OBJECT_STORE=azurite (`make check-azure`) the same tests run against Azure's emulator.
"""

import base64
import hmac
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import ClassVar
from uuid import uuid4

import httpx
from servers import wait_until

from deploy.processes import free_port


@dataclass
class ObjectStore:
    """The server's process and how a client finds it."""

    scheme: ClassVar[str] = "s3"

    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What the store's own tools are told in, too."""
        return {
            "AWS_ENDPOINT_URL": self.address,
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": "tests",
            "AWS_REGION": "us-east-1",
        }

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(self.port)]

    def start(self) -> "ObjectStore":
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._answers, 60)
        return self

    def _answers(self) -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(self.address, timeout=5).status_code < httpx.codes.INTERNAL_SERVER_ERROR
        return False

    def bucket(self) -> str:
        """A new bucket; its URL."""
        return self.make(f"{self.scheme}://shop-{uuid4().hex[:12]}")

    def make(self, url: str) -> str:
        """The bucket of a URL."""
        self._create(url.split("/")[2])
        return url

    def _create(self, name: str) -> None:
        httpx.put(f"{self.address}/{name}").raise_for_status()

    def freeze(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


class Azurite(ObjectStore):
    """Azure's own emulator; TEST_AZURITE is its program. Account and key are the ones it documents for everybody."""

    scheme = "az"
    account = "devstoreaccount1"
    key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AZURE_STORAGE_USE_EMULATOR": "true",
            "AZURITE_BLOB_STORAGE_URL": self.address,
            "AZURE_STORAGE_ACCOUNT_NAME": self.account,
            "AZURE_STORAGE_ACCOUNT_KEY": self.key,
        }

    @property
    def command(self) -> list[str]:
        options = ["--inMemoryPersistence", "--silent", "--skipApiVersionCheck", "--disableTelemetry"]
        return [os.environ["TEST_AZURITE"], "--blobPort", str(self.port), *options]

    def _create(self, name: str) -> None:
        """Signed by hand (Shared Key): the client that is tested makes no containers."""
        path, now = f"/{self.account}/{name}", datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
        signed = (
            "PUT" + "\n" * 12 + f"x-ms-date:{now}\nx-ms-version:2021-08-06\n/{self.account}{path}\nrestype:container"
        )
        mac = base64.b64encode(hmac.digest(base64.b64decode(self.key), signed.encode(), "sha256")).decode()
        headers = {"x-ms-date": now, "x-ms-version": "2021-08-06", "Authorization": f"SharedKey {self.account}:{mac}"}
        httpx.put(f"{self.address}{path}?restype=container", headers=headers).raise_for_status()


@contextmanager
def object_store() -> Iterator[ObjectStore]:
    """A running one, found by this process and its children through the environment, as everywhere."""
    store = Azurite() if os.environ.get("TEST_OBJECT_STORE") == "azurite" else ObjectStore()
    before = {name: os.environ.get(name) for name in store.environment}
    os.environ.update(store.environment)
    try:
        yield store.start()
    finally:
        store.stop()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
