import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from bundles import make_content
from servers import publish, serving, wait_until

from deploy.check_service import CHECKS, CheckedService, CheckFailed, known_users, run_checks
from deploy.processes import free_port
from index.recency import Recency


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("registry")
    publish(folder)
    return folder


def command(registry: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "deploy.demo", "--registry", str(registry), *arguments]


def run(registry: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command(registry, *arguments), capture_output=True, text=True, timeout=60, check=False)


@contextmanager
def serving_demo(registry: Path) -> Iterator[tuple["subprocess.Popen[bytes]", int, list[str]]]:
    """The demo, ready on a free port, and the lines that it printed until then."""
    port = free_port()
    demo = subprocess.Popen(command(registry, "--port", str(port)), stdout=subprocess.PIPE)
    assert demo.stdout is not None
    try:
        lines: list[str] = []
        while not lines or not lines[-1].startswith("Serving on"):
            line = demo.stdout.readline().decode()
            assert line, "the demo ended"
            lines.append(line.rstrip("\n"))
        yield demo, port, lines
    finally:
        demo.terminate()
        demo.wait(30)
        demo.stdout.close()


def test_all_checks_pass_on_a_real_service(registry: Path) -> None:
    done = run(registry, "--check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("\nok ") == len(CHECKS)
    assert "vectors written" in done.stdout


def test_little_is_shown_and_the_questions_can_be_copied(registry: Path) -> None:
    with serving_demo(registry) as (_, port, lines):
        assert len(lines) < 40
        assert sum("parts of the score: " in line for line in lines) == 1
        curl, asking = (line for line in lines if f"127.0.0.1:{port}" in line and line.startswith(("curl", "/", ".")))
        (url,) = re.findall(r"http://[^']+", curl)
        answer = httpx.get(url).json()
        assert answer["source"] == "user"
        asked = subprocess.run(asking, shell=True, capture_output=True, text=True, timeout=60, check=True).stdout
    assert answer["items"][0]["item_id"] in asked
    (opening,) = (line for line in lines if line.startswith("open_bundle("))
    code = f"from index import open_bundle\nprint({opening}[0].item_id)"
    opened = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert opened.stdout.strip() == answer["items"][0]["item_id"]


def test_the_check_shows_what_it_asked_and_got(registry: Path) -> None:
    done = run(registry, "--check")
    assert done.stdout.count("GET http://127.0.0.1:") == 3
    assert done.stdout.count('"items": [') == 3


def test_a_picture_is_shown_and_fetched(registry: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for row in range(40):
        (tmp_path / "images" / f"{row}.jpg").write_bytes(b"\xff\xd8\xff")
    done = run(registry, "--images", str(tmp_path), "--check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"A picture: http://\S+/images/images/\d+\.jpg", done.stdout)
    assert re.search(r"\nok The picture of an item is served .*\n +/images/\S+, 3 bytes", done.stdout)


def test_a_picture_that_is_not_served_fails_the_check(registry: Path, tmp_path: Path) -> None:
    done = run(registry, "--images", str(tmp_path), "--check")
    assert (done.returncode, "FAILED The picture of an item" in done.stdout) == (1, True)


def test_responses_that_do_not_fit_the_bundle_fail_the_check(registry: Path, tmp_path: Path) -> None:
    other = publish(tmp_path, make_content(seed=1))
    with serving(registry=registry) as client:
        found = {said: holds for said, holds, _ in run_checks(CheckedService(client, other))}
    assert found["The service is ready, serves the published bundle and is connected to Redis."] is False
    assert not all(found.values())


def test_contributions_are_checked_by_the_recency_of_the_bundle(tmp_path: Path) -> None:
    served = publish(tmp_path / "served", make_content(recency=Recency(tau=3)))
    other = publish(tmp_path / "other", make_content(recency=Recency(tau=4)))
    with serving(registry=served.path.parent) as client:
        assert "explained items" in known_users(CheckedService(client, served))
        with pytest.raises(CheckFailed, match=r"contributes .* expected"):
            known_users(CheckedService(client, other))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_serves_until_it_is_stopped_and_leaves_no_orphan(registry: Path, number: int) -> None:
    with serving_demo(registry) as (demo, port, _):
        assert httpx.get(f"http://127.0.0.1:{port}/readyz").json()["redis"] == "closed"
        children = psutil.Process(demo.pid).children(recursive=True)
        assert len(children) == 2
        demo.send_signal(number)
        assert demo.wait(30) == 0
        wait_until(lambda: not any(child.is_running() for child in children))


def test_a_port_in_use_is_one_line_and_no_start(registry: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run(registry, "--port", str(taken.getsockname()[1]))
    assert done.returncode == 2
    assert "cannot be listened on" in done.stderr
    assert "`make demo PORT=9000`" in done.stderr


def test_a_registry_without_a_bundle_is_one_line_and_no_start(tmp_path: Path) -> None:
    done = run(tmp_path, "--check")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no published bundle" in done.stderr
