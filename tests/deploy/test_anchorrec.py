"""`anchorrec`: the usual commands under one name, and questions to a real service."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from bundles import make_content
from processes import answers
from servers import publish, serving, wait_until
from typer.testing import CliRunner

from deploy.anchorrec import app as anchorrec
from deploy.ask import app
from deploy.processes import free_port
from service.http.security.keys import new_key


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("registry")
    publish(folder, make_content())
    return folder


@pytest.fixture(scope="module")
def url(registry: Path) -> Iterator[str]:
    with serving(registry=registry) as client:
        yield str(client.base_url)


def asked(*arguments: str, status: int = 0, env: dict[str, str] | None = None) -> str:
    """What `anchorrec ask` prints, on a wide terminal."""
    done = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "300", **(env or {})})
    assert done.exit_code == status, done.output
    return done.output


def test_recommendations_are_a_table_with_reasons_and_parts(url: str) -> None:
    shown = asked("recommend", "user-1", "-k", "2", "--explain", "--url", url)
    expected = httpx.get(f"{url}/recommend/user-1?k=2&explain=true").json()["items"]
    for item in expected:
        assert item["item_id"] in shown
        assert item["explanation"]["sentence"] in shown
        assert all(part in shown for part in item["explanation"]["parts"])


def test_json_is_the_response_of_the_service(url: str) -> None:
    items = json.loads(asked("recommend", "user-1", "-k", "3", "--json", "--url", url))["items"]
    assert items == httpx.get(f"{url}/recommend/user-1?k=3").json()["items"]


def test_similar_items_have_their_cosines(url: str) -> None:
    shown = asked("similar", "item-1", "-k", "1", "--url", url)
    (nearest,) = httpx.get(f"{url}/similar/item-1?k=1").json()["items"]
    assert nearest["item_id"] in shown
    assert "users in common" in shown


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [(["item", "item-1"], "users who had it"), (["user", "user-1"], "seen"), (["ready"], "bundle")],
)
def test_one_thing_is_shown_as_its_facts(url: str, arguments: list[str], shown: str) -> None:
    assert shown in asked(*arguments, "--url", url)


def test_an_unknown_item_is_one_line_and_status_1(url: str) -> None:
    shown = asked("item", "no-such", "--url", url, status=1)
    assert shown.startswith("error: the service answered 404")
    assert shown.count("\n") == 1


def test_an_unknown_user_is_told_in_words(url: str) -> None:
    assert asked("user", "no-such", "--url", url).startswith("the service does not know the user no-such")
    assert "popular items, as the service knows nothing of this user" in asked("recommend", "no-such", "--url", url)


def test_no_service_is_one_line_that_says_how_to_start_one() -> None:
    shown = asked("ready", "--url", f"http://127.0.0.1:{free_port()}", status=1)
    assert "start one with `anchorrec serve`" in shown


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://shop"])
def test_an_address_that_is_none_is_named(url: str) -> None:
    assert f"--url is '{url}'" in asked("ready", "--url", url, status=1)


def test_a_title_controls_no_terminal(tmp_path: Path) -> None:
    content = make_content()
    content.items[0]["title"] = "[red]bad\x1b[31m\u202e"
    publish(tmp_path, content)
    with serving(registry=tmp_path) as client:
        shown = asked("item", content.item_ids[0], "--url", str(client.base_url))
    assert "[red]bad [31m" in shown
    assert "\x1b" not in shown


def test_the_key_is_sent_only_when_asked_to_and_never_shown(registry: Path, tmp_path: Path) -> None:
    key, line = new_key("shop", "read", None)
    (tmp_path / "keys.jsonl").write_text(line + "\n")
    with serving(registry=registry, api_keys_file=tmp_path / "keys.jsonl", admin_open=False) as client:
        url, env = str(client.base_url), {"RECO_KEY": key}
        assert "401" in asked("user", "user-1", "--url", url, status=1, env=env)
        shown = asked("user", "user-1", "--url", url, "--key-from-env", env=env)
    assert "seen" in shown
    assert key not in shown
    assert "RECO_KEY holds no API key" in asked("ready", "--key-from-env", status=1, env={"RECO_KEY": ""})


def run(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "deploy.anchorrec", *arguments]
    environment = {**os.environ, "COLUMNS": "200", **variables}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_commands_are_handed_on_with_their_own_help_and_errors(tmp_path: Path) -> None:
    assert "anchorrec fit [OPTIONS]" in run("fit", "--help").stdout
    done = run("fit", str(tmp_path / "none"), "--out", str(tmp_path / "run"))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("error: ")


def test_help_imports_nothing_that_a_command_runs() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from deploy.anchorrec import app;"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0;"
        "print({'torch', 'numpy', 'fastapi', 'httpx', 'faiss'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "set()\n"


def test_a_missing_package_is_named_with_its_extra(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')")
    done = run("fit", "data", "--out", "run", PYTHONPATH=f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    assert done.stderr == "error: trainer needs torch, which is not installed: pip install 'anchorrec[trainer]'\n"
    assert done.returncode == 2


def test_serve_takes_its_options_as_settings(registry: Path, tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "deploy.anchorrec", "serve", "--registry", str(registry), "--port", str(port)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RECO_")}
    with (tmp_path / "log").open("wb") as log:
        service = subprocess.Popen(command, env=environment, stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            wait_until(lambda: answers(client) or service.poll() is not None)
            assert client.get("/readyz").status_code == 200
    finally:
        service.terminate()
        service.wait(30)


def test_a_demo_that_is_interrupted_says_how_to_go_on(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "deploy.anchorrec", "demo", "--folder", str(tmp_path), "--port", str(free_port())]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as demo:
        assert demo.stderr is not None
        assert demo.stderr.readline().startswith("step 1 of 4")
        os.killpg(demo.pid, signal.SIGINT)  # as a terminal does
        said = demo.stderr.read()
    assert said == "\nstopped; `make demo`, or the same `anchorrec demo`, goes on from here\n"
    assert demo.returncode == 130


def test_a_demo_on_a_taken_port_ends_before_its_work(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run("demo", "--folder", str(tmp_path / "demo"), "--port", str(taken.getsockname()[1]))
    assert (done.returncode, "cannot be listened on" in done.stderr) == (2, True)
    assert not (tmp_path / "demo").exists()


def test_every_command_is_listed() -> None:
    shown = CliRunner().invoke(anchorrec, ["--help"], env={"COLUMNS": "200"}).output
    for name in ("demo", "prepare", "fit", "compare", "export", "publish", "serve", "ask"):
        assert f"│ {name} " in shown
