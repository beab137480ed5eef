"""The service as it is run: a process of its own, over a socket."""

import json
import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from processes import INTERPRETER, process, run, stop
from servers import Valkey, counted, publish, wait_until

from deploy.processes import free_port
from index.registry import Registry
from service.http.security.keys import A_LINE


def test_the_process_holds_no_torch_and_logs_json_with_ids_escaped(registry: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with process(registry, log, program=INTERPRETER, log_level="debug") as (running, client):
        client.get("/recommend/user-1?explain=true")
        client.get("/recommend/%1B%5B31m%0Aforged%E2%80%AE", headers={"X-Request-Id": "mine"})
        maps = Path(f"/proc/{running.pid}/maps").read_text()
        assert "faiss" in maps
        assert "torch" not in maps
        stop(running)
    lines = log.read_text().splitlines()
    records = [json.loads(line) for line in lines]
    forged = next(record for record in records if record.get("request_id") == "mine")
    assert (forged["event"], forged["status"]) == ("request", 200)
    assert forged["path"] == "/recommend/%1B%5B31m%0Aforged%E2%80%AE"
    assert all(line.isascii() and line.isprintable() for line in lines)


def test_a_full_disk_under_the_log_fails_no_request(registry: Path, tmp_path: Path) -> None:
    with process(registry, Path("/dev/full"), data=tmp_path, log_level="debug", admin_open=True) as (running, client):
        assert client.get("/recommend/user-1").status_code == 200
        assert client.get("/retrain").status_code == 409  # audited, in the log alone
        assert client.post("/events", json={"user_id": "u", "item_id": "item-1", "kind": "view"}).status_code == 202
        stop(running)


def test_sigterm_lets_a_request_in_flight_end(registry: Path, valkey: Valkey, tmp_path: Path) -> None:
    # A frozen Redis with a patient budget holds the request while the signal comes.
    patient = {"redis_url": valkey.url, "redis_budget_ms": 2_000}
    pid = valkey.pid()
    with process(registry, tmp_path / "log", **patient) as (running, client), ThreadPoolExecutor() as pool:
        os.kill(pid, signal.SIGSTOP)
        try:
            waiting = pool.submit(client.get, "/recommend/user-1")
            with httpx.Client(base_url=client.base_url) as other:
                wait_until(lambda: counted(other, "reco_requests_in_flight") == 2)
            stop(running)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert waiting.result().json()["source"] == "user"


def test_sigterm_ends_an_idle_service_at_once(registry: Path, tmp_path: Path) -> None:
    patient = {"keep_alive_s": 600, "drain_s": 600}  # far longer than a test waits for the end
    with process(registry, tmp_path / "log", **patient) as (running, client):
        client.get("/recommend/user-1")  # its connection is kept open
        stop(running)


def test_sigterm_says_not_ready_for_a_while_on_both_ports_and_still_answers(registry: Path, tmp_path: Path) -> None:
    port = free_port()
    with (
        process(registry, tmp_path / "log", drain_delay_s=1, admin_port=port) as (running, client),
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as admin,
    ):
        assert admin.get("/readyz").status_code == 200
        running.send_signal(signal.SIGTERM)
        wait_until(lambda: client.get("/readyz").status_code == 503)
        assert client.get("/readyz").json()["error"] == "draining"
        assert admin.get("/readyz").status_code == 503
        with httpx.Client(base_url=client.base_url) as newcomer:
            assert newcomer.get("/popular").status_code == 200
        assert running.wait(60) == -signal.SIGTERM


@pytest.mark.parametrize(
    ("taken", "named"), [("port", "RECO_PORT or --port"), ("admin_port", "RECO_ADMIN_PORT")], ids=["public", "admin"]
)
def test_a_port_that_is_taken_is_one_line_and_no_start(registry: Path, taken: str, named: str) -> None:
    ports = {"port": free_port()}
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        ports[taken] = port = other.getsockname()[1]
        done = run("run", registry=registry, **ports)
    assert done.returncode == 2
    said = f"error: cannot listen on 127.0.0.1 port {port}: Address already in use; {named} names another"
    assert done.stderr.splitlines()[-1] == said


@pytest.mark.parametrize("damage", ["nothing published", "truncated", "edited"])
def test_a_bundle_that_must_not_serve_is_one_line_and_no_start(tmp_path: Path, damage: str) -> None:
    bundle = publish(tmp_path / "registry")
    said = "has no published bundle"
    if damage == "nothing published":
        Registry(tmp_path / "registry").folder.joinpath("current.json").unlink()
    else:
        file = bundle.path / "item_embeddings.npy"
        data = file.read_bytes()
        file.write_bytes(data[:-4] if damage == "truncated" else data[:-1] + bytes([data[-1] ^ 1]))
        said = "item_embeddings.npy"
    done = run("run", registry=tmp_path / "registry", port=free_port(), verify_bundle="start")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert said in line


def test_a_misspelt_setting_is_one_line_and_no_start(registry: Path) -> None:
    done = run("run", registry=registry, redis_ulr="redis://localhost")
    assert done.returncode == 2
    assert done.stderr == "error: RECO_REDIS_ULR: unknown setting; the nearest known one is RECO_REDIS_URL\n"


def test_the_command_line_lists_its_commands_and_settings() -> None:
    assert "settings" in run("--help").stdout
    assert "`RECO_REDIS_BUDGET_MS` | `10.0`" in run("settings").stdout


def test_a_new_key_is_shown_once_and_its_line_can_be_appended(registry: Path, tmp_path: Path) -> None:
    made = run("new-key", "shop", "--role", "read", "--expires", "2099-01-01")
    assert made.returncode == 0
    key = made.stderr.split()[-1]
    assert key.startswith("reco_")
    assert json.loads(made.stdout)["expires"] == "2099-01-01T00:00:00Z"
    assert key not in made.stdout
    keys = tmp_path / "keys.jsonl"
    keys.write_text(made.stdout)
    with process(registry, tmp_path / "log", api_keys_file=keys) as (_, client):
        assert client.get("/popular", headers={"X-API-Key": key}).status_code == 200
        assert client.get("/popular").status_code == 401


def test_a_wrong_file_of_keys_is_one_line_and_no_start(registry: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys.jsonl"
    keys.write_text("reco_not_a_hash\n")
    done = run("run", registry=registry, api_keys_file=keys, port=free_port())
    assert done.returncode == 2
    assert done.stderr == f"error: RECO_API_KEYS_FILE: {keys}: line 1: is no JSON; {A_LINE}\n"
    missing = run("run", registry=registry, api_keys_file=tmp_path / "none", port=free_port())
    assert missing.stderr.endswith("none: No such file or directory\n")
