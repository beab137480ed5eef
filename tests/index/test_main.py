import json
import subprocess
import sys
from pathlib import Path

import pytest
from bundles import write_small_bundle
from typer.testing import CliRunner

from index.__main__ import app
from index.registry import Registry


@pytest.fixture
def bundle(tmp_path) -> Path:
    return write_small_bundle(tmp_path / "registry", n_users=40, n_items=300)


def run(*arguments: object, status: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "160"})
    assert result.exit_code == status, result.output
    return result.output


def worse(bundle: Path) -> Path:
    return write_small_bundle(bundle.parent, after_seconds=1, metrics={"valid": {"recall@20": 0.01}})


@pytest.mark.parametrize("command", ["build", "inspect", "gate", "publish", "rollback", "prune", "bench"])
def test_help_teaches_by_an_example(command):
    assert f"python -m index {command} bundles" in " ".join(run(command, "--help").split())


def test_publishing_asks_the_gate_and_tells_what_it_found(bundle):
    said = run("publish", bundle)
    assert f"gate for {bundle.name}: passed" in said
    assert f"serving: {bundle.name}" in said
    assert Registry(bundle.parent).current_id() == bundle.name


def test_a_bundle_that_fails_the_gate_leaves_the_current_one_serving(bundle):
    run("publish", bundle)
    said = run("publish", worse(bundle), status=1)
    assert "FAIL  valid recall@20" in said
    assert f"not published; still serving: {bundle.name}" in said
    assert Registry(bundle.parent).current_id() == bundle.name


def test_force_publishes_what_the_gate_refused_and_rollback_undoes_it(bundle):
    run("publish", bundle)
    other = worse(bundle)
    assert f"serving: {other.name} (forced)" in run("publish", other, "--force")
    assert f"serving: {bundle.name}" in run("rollback", bundle.parent)


def test_the_gate_alone_publishes_nothing_and_can_speak_json(bundle):
    report = json.loads(run("gate", bundle, "--json"))
    assert [check["passed"] for check in report["checks"]] == [True] * 6
    run("publish", bundle)
    run("gate", worse(bundle), status=1)
    run("gate", worse(bundle), "--margin", 1)
    assert Registry(bundle.parent).current_id() == bundle.name


def test_a_bundle_is_shown_to_people_and_to_programs(bundle):
    said = run("inspect", bundle)
    for fact in (
        bundle.name,
        "40 users, 300 items",
        "id, text, image, multimodal, anchor",
        "recall@20 1.0000",
        "0.2000",
    ):
        assert fact in said
    assert json.loads(run("inspect", bundle, "--json"))["bundle_id"] == bundle.name


def test_a_registry_shows_which_bundle_serves(bundle):
    run("publish", bundle)
    assert "serves" in run("inspect", bundle.parent)
    expected = {"bundle": bundle.name, "history": [], "bundles": [bundle.name]}
    assert json.loads(run("inspect", bundle.parent, "--json")) == expected


def test_a_build_makes_a_sibling_that_can_be_published(bundle):
    said = run("build", bundle, "--factory", "IVF8,Flat", "--nprobe", 8)
    assert "recall@20 1.0000" in said
    assert "gate" in run("publish", said.splitlines()[0])


def test_prune_says_what_it_removed(bundle):
    other = worse(bundle)
    assert run("prune", bundle.parent, "--keep", 1) == f"removed {bundle.name}\n"
    assert run("prune", bundle.parent, "--keep", 1) == "nothing to remove\n"
    assert Registry(bundle.parent).ids() == [other.name]


def test_the_bench_has_a_line_for_each_factory_and_number_of_excluded_rows(bundle):
    options = ["--queries", 20, "--excluded", 30, "--excluded", 200, "--excluded", 10_000]
    lines = json.loads(run("bench", bundle, "--factory", "Flat", "--factory", "HNSW8", *options, "--json"))
    assert [(line["factory"], line["n_excluded"]) for line in lines] == [
        ("Flat", 30),
        ("Flat", 200),
        ("HNSW8", 30),
        ("HNSW8", 200),
    ]
    assert all(line["queries_per_second"] > 0 and line["p50_ms"] <= line["p99_ms"] for line in lines)
    assert [line["recall"] for line in lines[:2]] == [1.0, 1.0]
    assert "queries/s" in run("bench", bundle, *options)


def test_wrong_input_is_one_line_and_exit_status_2(bundle):
    for arguments, message in (
        (["inspect", bundle.parent / "nowhere"], "expected a bundle folder"),
        (["build", bundle, "--factory", "Nonsense"], "index factory 'Nonsense' does not fit"),
        (["rollback", bundle.parent], "no earlier bundle"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "index", *map(str, arguments)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert done.stderr.startswith("error: ")
        assert message in done.stderr
        assert done.stderr.count("\n") == 1
