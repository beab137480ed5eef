"""The peers' harness, with a peer of our own making over a real socket: those that must be installed are not in CI."""

import json
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import redis
from servers import wait_until

from benchmarks.peers.flat_index import FlatIndex
from benchmarks.peers.peer import PEERS, Peer
from benchmarks.peers.peer_process import PeerInput, ask, best, serving
from benchmarks.peers.venvs import programs
from index.bundle import Bundle, open_bundle
from index.errors import InputError
from index.registry import Registry
from loadtests.bench_servers import BenchServers, cpu_seconds
from loadtests.random_bundle import BundleSizes, publish_random, user_id
from loadtests.workloads import raw

OURS = Path(sys.executable).parent  # the programs of this environment


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundles")
    sizes = BundleSizes(n_items=60, n_users=20, seen_per_user=7, embedding_size=8)
    publish_random(folder, sizes, np.random.default_rng(0))
    return open_bundle(Registry(folder).current())


def peer(
    tmp_path: Path, *, answer: str = "catalogue().recommend(asked['user_id'], asked['k'])", first: str = ""
) -> Peer:
    """A peer that answers with a Python expression over what it was asked, from Python's own HTTP server."""
    program = tmp_path / "peer.py"
    program.write_text(
        textwrap.dedent(f"""
            import json, subprocess, sys
            from http.server import BaseHTTPRequestHandler, HTTPServer
            from benchmarks.peers.flat_index import catalogue, port

            class Handler(BaseHTTPRequestHandler):
                def do_POST(self):
                    asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
                    body = json.dumps({answer}).encode()
                    self.send_response(200)
                    self.send_header("content-length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            {first}
            HTTPServer(("127.0.0.1", port()), Handler).serve_forever()
        """)
    )
    return Peer(
        "ours",
        (),
        lambda user_id, k: raw("/", body=json.dumps({"user_id": user_id, "k": k}).encode()),
        program=("python", str(program)),
    )


def test_what_peers_serve_is_what_our_index_finds(bundle: Bundle):
    load_index = FlatIndex(bundle.path)
    for row in range(len(bundle.user_ids)):
        answer = load_index.recommend(user_id(row), 10)
        assert [item["item_id"] for item in answer["items"]] == best(bundle, user_id(row), 10)
        rows = [bundle.item_ids.row(item["item_id"]) for item in answer["items"]]
        expected = bundle.item_embeddings[rows] @ bundle.user_embeddings[row]
        assert [item["score"] for item in answer["items"]] == pytest.approx(expected, rel=1e-5)


def test_a_peer_that_answers_right_is_served_until_the_end(bundle: Bundle, tmp_path: Path):
    with serving(peer(tmp_path), OURS, PeerInput(bundle, "", 10)) as child:
        assert psutil.pid_exists(child.pid)
        assert cpu_seconds(child.pid) > 0
    assert not psutil.pid_exists(child.pid)


def test_a_peer_that_answers_with_other_items_is_refused(bundle: Bundle, tmp_path: Path):
    wrong = peer(tmp_path, answer="{'items': [{'item_id': 'item-1', 'score': 1.0}]}")
    with (
        pytest.raises(InputError, match=r"it answers \['item-1'\] to user-0; expected \['item-"),
        serving(wrong, OURS, PeerInput(bundle, "", 10)),
    ):
        pass


def test_a_peer_that_does_not_start_says_why(bundle: Bundle, tmp_path: Path):
    broken = peer(tmp_path, first="import a_package_that_nobody_has")
    with (
        pytest.raises(InputError, match="it did not start: ModuleNotFoundError: No module named 'a_package"),
        serving(broken, OURS, PeerInput(bundle, "", 10)),
    ):
        pass


def test_a_paused_peer_stands_still_unless_it_is_measured(bundle: Bundle, tmp_path: Path):
    def stands_still() -> bool:
        return psutil.Process(child.pid).status() == psutil.STATUS_STOPPED

    with serving(peer(tmp_path), OURS, PeerInput(bundle, "", 10)) as child, redis.Redis() as spare:
        with BenchServers({"ours": child}, "", spare).pausing(["ours"]) as servers:
            wait_until(stands_still)
            with servers.awake("ours"):
                assert ask(peer(tmp_path), child.client, "user-0", 10).status_code == 200
            wait_until(stands_still)
        wait_until(lambda: not stands_still())


def test_what_a_peer_started_itself_is_measured_with_it_and_does_not_outlive_it(bundle: Bundle, tmp_path: Path):
    busy = "subprocess.Popen([sys.executable, '-c', 'while True: pass'])"
    with serving(peer(tmp_path, first=busy), OURS, PeerInput(bundle, "", 10)) as child:
        (started,) = psutil.Process(child.pid).children()
        before = cpu_seconds(child.pid)
        time.sleep(0.2)
        assert cpu_seconds(child.pid) > before
    wait_until(lambda: not started.is_running() or started.status() == psutil.STATUS_ZOMBIE)


def test_a_package_that_cannot_be_installed_is_named(tmp_path: Path):
    wanting = Peer("wanting", (str(tmp_path / "nowhere-1.0-py3-none-any.whl"),), lambda *_: b"")
    with pytest.raises(InputError, match=r"it could not be installed: ERROR: .*nowhere-1\.0"):
        programs(wanting, tmp_path)


def test_a_peer_that_is_absent_is_said_to_be_and_ends_nothing(tmp_path: Path):
    (tmp_path / "file").write_text("no folder")
    sizes = ["--items", "300", "--users", "500", "--seen", "5", "--size", "16", "--quick", "--connections", "4"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.peers", *sizes, "--peers", "mosec", "--venvs", str(tmp_path / "file")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout.splitlines()[-1])
    assert list(record["closed"]) == ["empty", "anchorrec", "anchorrec, anew"]
    assert all(one["failures"] == 0 and one["requests"] > 0 for one in record["closed"].values())
    assert record["absent"]["mosec"].startswith("it could not be installed: ")
    assert "does not run" in done.stdout


def test_a_peer_that_nobody_knows_is_one_line():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.peers", "--peers", "mosec,nobody"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: --peers: 'nobody' is not known; expected some of {', '.join(PEERS)}\n"
