"""A real Milvus for tests: Milvus Lite's server, which speaks Milvus' protocol over a socket, in a process to hurt."""

import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from servers import wait_until

from deploy.processes import free_port
from index.bundle import Bundle
from index.milvus.engine import Milvus, MilvusError
from index.milvus.load import load_bundle
from index.milvus.names import FLAT, collection_of


class MilvusServer:
    """The server's process; it keeps its port and its data when it is killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "MilvusServer":
        command = [sys.executable, "-m", "milvus_lite", "server", "--data-dir", str(self._folder)]
        address = ["--host", "127.0.0.1", "--port", str(self.port)]
        self._process = subprocess.Popen([*command, *address], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._answers)
        return self

    def _answers(self) -> bool:
        with socket.socket() as one:
            one.settimeout(1)
            return one.connect_ex(("127.0.0.1", self.port)) == 0

    def restart(self, bundle: Bundle) -> None:
        """Start it again with the bundle's collection in memory; a cluster keeps that by itself.

        A search that comes first makes Milvus Lite forget the load now and then: it is repeated.
        """
        self.start()
        with connected(self, timeout_s=3) as milvus:
            wait_until(lambda: answers(milvus, "load_collection", collection_of(bundle.bundle_id)))

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


@contextmanager
def milvus_server() -> Iterator[MilvusServer]:
    with tempfile.TemporaryDirectory() as folder:
        server = MilvusServer(Path(folder)).start()
        try:
            yield server
        finally:
            server.kill()


@contextmanager
def connected(server: MilvusServer, timeout_s: float = 30.0) -> Iterator[Milvus]:
    milvus = Milvus(server.uri, timeout_s=timeout_s)
    try:
        yield milvus
    finally:
        milvus.close()


def loaded(server: MilvusServer, bundle: Bundle) -> Bundle:
    """The bundle, once its items are in Milvus."""
    with connected(server) as milvus:
        load_bundle(milvus, bundle, FLAT, floor=0.99)
    return bundle


def answers(milvus: Milvus, method: str = "list_collections", *arguments: str) -> bool:
    try:
        milvus.call(method, *arguments)
    except MilvusError:
        return False
    return True
