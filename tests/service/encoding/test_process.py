"""The encoding process, with a worker in which a content says what happens to it."""

import asyncio
import sys
from pathlib import Path

import pytest

from service.encoding import process as processes
from service.encoding.process import EncodingProcess, ProcessFailedError
from service.settings import EncodingSettings
from service.telemetry.metrics import Metrics

WORKER = """
import os, sys, time
import numpy as np
from service.encoding import worker

class Network:
    def encode(self, contents):
        for content in contents:
            if content == b"crash":
                os.abort()
            if content == b"hang":
                time.sleep(60)
            if content == b"fail":
                raise RuntimeError("onnxruntime is out of memory")
            if content == b"lie":
                os.write(1, b"x" * 1_000)
        settings = [name for name in os.environ if name.startswith("RECO_")]
        if contents[0] == b"settings":
            return [f"sees {settings}"]
        rows = [np.full(2, np.nan if one == b"nan" else len(one)) for one in contents]
        return ["bad" if one == b"bad" else row for one, row in zip(contents, rows)]

worker.open_network = lambda folder, threads: Network()
worker.limit_process(int(sys.argv[1]))
worker.serve(sys.stdin.buffer, sys.stdout.buffer, int(sys.argv[2]))
"""


def run(scene, monkeypatch, **settings):
    monkeypatch.setattr(processes, "COMMAND", (sys.executable, "-c", WORKER))

    async def main():
        process = EncodingProcess(EncodingSettings(registry="bundles", **settings), Metrics())
        try:
            return await scene(process)
        finally:
            await process.close()
            assert process.pid is None

    return asyncio.run(main())


async def encode(process, *contents):
    found = await process.encode(Path("encoder"), 2, contents)
    return [one if isinstance(one, str) else one.tolist() for one in found]


def test_it_starts_at_the_first_batch_and_answers_each_content(monkeypatch):
    async def scene(process):
        assert process.pid is None
        first = await encode(process, b"one", b"bad", b"three")
        pid = process.pid
        assert await encode(process, b"nan") == ["its features are not finite"]
        assert process.pid == pid
        return first

    assert run(scene, monkeypatch) == [[3, 3], "bad", [5, 5]]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"crash", "it was ended by signal 6"),
        (b"hang", r"it took longer than 1 s \(RECO_ENCODE_TIMEOUT_S\)"),
        (b"fail", "RuntimeError: onnxruntime is out of memory"),
        (b"lie", "a message of"),
    ],
)
def test_a_process_that_fails_is_told_and_another_one_answers(monkeypatch, content, reason):
    async def scene(process):
        await encode(process, b"one")
        pid = process.pid
        with pytest.raises(ProcessFailedError, match=reason):
            await encode(process, content)
        assert process.problem is not None
        assert await encode(process, b"one") == [[3, 3]]
        assert process.problem is None
        assert process.pid != pid

    run(scene, monkeypatch, encode_timeout_s=1 if content == b"hang" else 20)


def test_a_process_that_keeps_failing_is_not_started_again_and_again(monkeypatch):
    monkeypatch.setattr(processes, "FIRST_S", 10.0)

    async def scene(process):
        for _ in range(2):
            with pytest.raises(ProcessFailedError, match="signal 6"):
                await encode(process, b"crash")
        with pytest.raises(ProcessFailedError, match="it failed 2 times in a row: it was ended by signal 6"):
            await encode(process, b"one")

    run(scene, monkeypatch)


def test_a_cancelled_batch_leaves_no_answer_for_the_next(monkeypatch):
    async def scene(process):
        task = asyncio.create_task(encode(process, b"hang"))
        while process.pid is None:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await encode(process, b"four")

    assert run(scene, monkeypatch) == [[4, 4]]


def test_it_is_stopped_when_idle_and_started_when_it_is_needed_again(monkeypatch):
    monkeypatch.setattr(processes, "IDLE_S", 0.0)

    async def scene(process):
        await encode(process, b"one")
        pid = process.pid
        while process.pid is not None:
            await asyncio.sleep(0.01)
        assert await encode(process, b"one") == [[3, 3]]
        assert process.pid != pid

    run(scene, monkeypatch)


def test_it_sees_no_settings_of_the_service(monkeypatch):
    monkeypatch.setenv("RECO_REDIS_URL", "redis://:secret@localhost")
    assert run(lambda process: encode(process, b"settings"), monkeypatch) == ["sees []"]


def test_it_ends_with_the_service(monkeypatch):
    async def scene(process):
        await encode(process, b"one")
        child = process._process
        child.stdin.close()  # as the kernel does when the service is killed
        assert await asyncio.wait_for(child.wait(), 10) == 0

    run(scene, monkeypatch)


def test_a_process_that_does_not_start_in_time_is_told(monkeypatch):
    monkeypatch.setattr(processes, "START_S", 0.0)

    async def scene(process):
        with pytest.raises(ProcessFailedError, match="it did not start within 0 s"):
            await encode(process, b"one")

    run(scene, monkeypatch)
