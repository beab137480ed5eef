"""Start `python -m service` and `python -m trainer` without the seconds that their imports take.

A server process imports the libraries once and forks a child for every program. The child is a process of its own:
it has its arguments, environment, folder and output, takes signals, and dies by kill -9 as any other.
Run as a script, this file is that server.
"""

import atexit
import functools
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

# Nothing here may start a thread: polars and pyarrow do, and a fork keeps only the thread that called it.
LIBRARIES = {
    "service": ("service.__main__", "uvicorn.protocols.http.httptools_impl", "uvicorn.lifespan.on", "obstore.store"),
    "trainer": (
        "torch", "torch._dynamo", "torch.optim.adam", "torch.distributed.nn.functional", "scipy.stats", "scipy.sparse",
        "matplotlib.figure", "matplotlib.backends.backend_agg", "rich.progress", "trainer.config", "trainer.graph",
        "faiss", "index.registry",
    ),
}  # fmt: skip
BACKLOG = 16


class Program:
    """A program that runs or has run, with the part of subprocess.Popen that tests use."""

    def __init__(self, pid: int, connection: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._connection = connection

    def poll(self) -> int | None:
        """The exit status, negative where a signal ended the program; None while it runs."""
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        status = self._ended(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _ended(self, timeout: float | None) -> int | None:
        if self.returncode is None and self._can_be_read(timeout):
            told = self._connection.recv(64)
            self.returncode = int(told) if told else -signal.SIGKILL
            self._connection.close()
        return self.returncode

    def _can_be_read(self, timeout: float | None) -> bool:
        poller = select.poll()  # `select.select` takes only files below 1,024
        poller.register(self._connection, select.POLLIN)
        return bool(poller.poll(None if timeout is None else timeout * 1_000))


def start(
    program: str,
    arguments: Sequence[object],
    *,
    stdout: IO[Any] | None = None,
    stderr: IO[Any] | None = None,
    env: dict[str, str] | None = None,
    code: str | None = None,
    module: str | None = None,
) -> Program:
    """Run `python -m program arguments`, or `code` or another module with the libraries of that program."""
    order = {
        "module": module or program,
        "arguments": [str(argument) for argument in arguments],
        "environment": dict(os.environ) if env is None else env,
        "folder": str(Path.cwd()),
        "code": code,
    }
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(f"\0{_server(program)}")
    with open(os.devnull, "wb") as nowhere:
        handles = [(stream or nowhere).fileno() for stream in (stdout, stderr)]
        payload = json.dumps(order).encode()
        socket.send_fds(connection, [len(payload).to_bytes(4, "big")], handles)
    connection.sendall(payload)
    return Program(int.from_bytes(_exactly(connection, 4), "big"), connection)


def run(
    program: str,
    *arguments: object,
    env: dict[str, str] | None = None,
    code: str | None = None,
    module: str | None = None,
) -> "subprocess.CompletedProcess[str]":
    """As start, but to the end; what it wrote comes with its status."""
    with _memory() as out, _memory() as errors:
        status = start(program, arguments, stdout=out, stderr=errors, env=env, code=code, module=module).wait(120)
        texts = [os.pread(file.fileno(), file.seek(0, os.SEEK_END), 0).decode() for file in (out, errors)]
    return subprocess.CompletedProcess([program, *map(str, arguments)], status, *texts)


def _memory() -> IO[bytes]:
    return os.fdopen(os.memfd_create("output"), "r+b")


@functools.cache
def _server(program: str) -> str:
    """The address of this process's server, started when it is first needed."""
    address = f"tests-{program}-{os.getpid()}"
    reading, writing = os.pipe()
    command = [sys.executable, __file__, program, address]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as ready:
        if not ready.read(1):
            raise RuntimeError(f"the fork server of {program} did not start")
    atexit.register(_stop, server)
    return address


def _stop(server: "subprocess.Popen[bytes]") -> None:
    assert server.stdin is not None
    server.stdin.close()
    server.wait(10)


def _exactly(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        more = connection.recv(size - len(found))
        if not more:
            raise ConnectionError("the fork server has gone")
        found += more
    return found


# The server


def serve(program: str, address: str) -> None:
    """Fork a child for every connection, until standard input is closed."""
    for library in LIBRARIES[program]:
        importlib.import_module(library)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(f"\0{address}")  # an abstract address: no file to remove
    listener.listen(BACKLOG)
    wakeup, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    os.write(1, b"+")
    os.dup2(2, 1)
    children: dict[int, socket.socket] = {}
    while True:
        ready = select.select([0, listener, wakeup], [], [])[0]
        if wakeup in ready:
            os.read(wakeup, 4096)
            _reap(children)
        if listener in ready:
            connection, _ = listener.accept()
            pid = _forked(connection, [listener, *children.values()])
            children[pid] = connection
            connection.sendall(pid.to_bytes(4, "big"))
        if 0 in ready:
            break
    for pid in children:
        os.kill(pid, signal.SIGKILL)


def _reap(children: dict[int, socket.socket]) -> None:
    """Report the status of every child that has ended."""
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        connection = children.pop(pid)
        with suppress(OSError):  # the test may have stopped waiting
            connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())
        connection.close()


def _forked(connection: socket.socket, inherited: Sequence[socket.socket]) -> int:
    size, handles, _, _ = socket.recv_fds(connection, 4, 2)
    order = json.loads(_exactly(connection, int.from_bytes(size, "big")))
    pid = os.fork()
    if pid:
        for handle in handles:
            os.close(handle)
        return pid
    status = 70
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for each in (*inherited, connection):
            each.close()
        nothing = os.open(os.devnull, os.O_RDONLY)
        for handle, target in zip((nothing, *handles), range(3), strict=True):
            os.dup2(handle, target)
        status = _executed(order)
    except BaseException:  # the outermost edge of the child: no exception may reach the server's loop
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _executed(order: dict[str, Any]) -> int:
    """Run the program as the interpreter would; its exit status."""
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["folder"])
    sys.argv = [order["module"], *order["arguments"]]
    try:
        if order["code"] is None:
            sys.modules.pop(f"{order['module']}.__main__", None)
            runpy.run_module(order["module"], run_name="__main__", alter_sys=True)
        else:
            exec(compile(order["code"], "<test>", "exec"), {"__name__": "__main__"})
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    finally:
        atexit._run_exitfuncs()
    return 0


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])  # in place of tests/, whose folders have the packages' names
    serve(*sys.argv[1:])
