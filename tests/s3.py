"""A real object store for tests: moto's server, which speaks the protocol of S3 over a socket."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from uuid import uuid4

import httpx
from servers import wait_until

from deploy.stack import free_port


@dataclass
class ObjectStore:
    """The server's process and how a client finds it."""

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

    def start(self) -> "ObjectStore":
        command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._answers, 60)
        return self

    def _answers(self) -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(self.address, timeout=5).status_code == httpx.codes.OK
        return False

    def bucket(self) -> str:
        """A new bucket; its URL."""
        return self.make(f"s3://shop-{uuid4().hex[:12]}")

    def make(self, url: str) -> str:
        """The bucket of a URL."""
        httpx.put(f"{self.address}/{url.split('/')[2]}").raise_for_status()
        return url

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


@contextmanager
def object_store() -> Iterator[ObjectStore]:
    """A running one, found by this process and its children through the environment, as everywhere."""
    store = ObjectStore()
    before = {name: os.environ.get(name) for name in store.environment}
    os.environ.update(store.environment)
    try:
        yield store.start()
    finally:
        store.stop()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
