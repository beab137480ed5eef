"""The benchmark of the peers, with a small peer of our own over a real socket; CI does not install the real ones."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import psutil
import pytest
import redis
from servers import wait_until
from typer.testing import CliRunner

from benchmarks.peers.__main__ import app
from benchmarks.peers.flat_index import FlatIndex
from benchmarks.peers.peer import PEERS, Peer
from benchmarks.peers.peer_process import PeerInput, best_items, running_peer, send
from benchmarks.peers.venvs import programs
from index.bundle import Bundle, open_bundle
from index.errors import InputError
from index.registry import Registry
from loadtests.bench_servers import BenchServers, cpu_seconds
from loadtests.random_bundle import RandomBundleSizes, publish_random, user_id
from loadtests.workloads import raw

OURS = Path(sys.executable).parent  # the programs of this environment


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundles")
    sizes = RandomBundleSizes(n_items=60, n_users=20, seen_per_user=7, embedding_size=8)
    publish_random(folder, sizes, np.random.default_rng(0))
    return open_bundle(Registry(folder).current())


def peer(
    tmp_path: Path, *, response: str = "load_index().recommend(body['user_id'], body['k'])", first: str = ""
) -> Peer:
    """A peer on Python's own HTTP server that returns the value of an expression over the request body."""
    program = tmp_path / "peer.py"
    program.write_text(
        textwrap.dedent(f"""
            import json, subprocess, sys
            from http.server import BaseHTTPRequestHandler, HTTPServer
            from benchmarks.peers.flat_index import load_index, port

            class Handler(BaseHTTPRequestHandler):
                def do_POST(self):
                    body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                    content = json.dumps({response}).encode()
                    self.send_response(200)
                    self.send_header("content-length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)

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


def test_the_peers_recommend_what_our_index_finds(bundle: Bundle):
    index = FlatIndex(bundle.path)
    for row in range(len(bundle.user_ids)):
        answer = index.recommend(user_id(row), 10)
        assert [item["item_id"] for item in answer["items"]] == best_items(bundle, user_id(row), 10)
        rows = [bundle.item_ids.row(item["item_id"]) for item in answer["items"]]
        expected = bundle.item_embeddings[rows] @ bundle.user_embeddings[row]
        assert [item["score"] for item in answer["items"]] == pytest.approx(expected, rel=1e-5)


def test_a_peer_with_the_right_items_runs_until_the_end(bundle: Bundle, tmp_path: Path):
    with running_peer(peer(tmp_path), OURS, PeerInput(bundle, "", 10)) as child:
        assert psutil.pid_exists(child.pid)
        assert cpu_seconds(child.pid) > 0
    assert not psutil.pid_exists(child.pid)


def test_a_peer_with_other_items_is_refused(bundle: Bundle, tmp_path: Path):
    wrong = peer(tmp_path, response="{'items': [{'item_id': 'item-1', 'score': 1.0}]}")
    with (
        pytest.raises(InputError, match=r"it returned \['item-1'\] for user-0; expected \['item-"),
        running_peer(wrong, OURS, PeerInput(bundle, "", 10)),
    ):
        pass


def test_the_reason_why_a_peer_does_not_start_is_reported(bundle: Bundle, tmp_path: Path):
    broken = peer(tmp_path, first="import a_missing_package")
    with (
        pytest.raises(InputError, match="it did not start: ModuleNotFoundError: No module named 'a_missing"),
        running_peer(broken, OURS, PeerInput(bundle, "", 10)),
    ):
        pass


def test_a_peer_is_suspended_unless_it_is_measured(bundle: Bundle, tmp_path: Path):
    def is_suspended() -> bool:
        return psutil.Process(child.pid).status() == psutil.STATUS_STOPPED

    with running_peer(peer(tmp_path), OURS, PeerInput(bundle, "", 10)) as child, redis.Redis() as spare:
        with BenchServers({"ours": child}, "", spare).pausing(["ours"]) as servers:
            wait_until(is_suspended)
            with servers.awake("ours"):
                assert send(peer(tmp_path), child.client, "user-0", 10).status_code == 200
            wait_until(is_suspended)
        wait_until(lambda: not is_suspended())


def test_the_children_of_a_peer_are_measured_and_stopped_with_it(bundle: Bundle, tmp_path: Path):
    busy = "subprocess.Popen([sys.executable, '-c', 'while True: pass'])"
    with running_peer(peer(tmp_path, first=busy), OURS, PeerInput(bundle, "", 10)) as child:
        (started,) = psutil.Process(child.pid).children()
        before = cpu_seconds(child.pid)
        wait_until(lambda: cpu_seconds(child.pid) > before)
    wait_until(lambda: not started.is_running() or started.status() == psutil.STATUS_ZOMBIE)


def test_a_package_that_cannot_be_installed_is_named(tmp_path: Path):
    wanting = Peer("wanting", (str(tmp_path / "nowhere-1.0-py3-none-any.whl"),), lambda *_: b"")
    with pytest.raises(InputError, match=r"it could not be installed: ERROR: .*nowhere-1\.0"):
        programs(wanting, tmp_path)


def test_an_absent_peer_is_listed_and_the_others_are_measured(tmp_path: Path):
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
    assert list(record["closed"]) == ["empty", "anchorrec", "anchorrec, uncached"]
    assert all(one["failures"] == 0 and one["requests"] > 0 for one in record["closed"].values())
    assert record["absent"]["mosec"].startswith("it could not be installed: ")
    assert "does not run" in done.stdout


def test_an_unknown_peer_is_refused():
    refused = CliRunner().invoke(app, ["--peers", "mosec,unknown"]).exception
    assert isinstance(refused, InputError)
    assert str(refused) == f"--peers: 'unknown' is not known; expected some of {', '.join(PEERS)}"
