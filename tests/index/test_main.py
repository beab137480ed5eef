import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bundles import make_anchor, write_small_bundle
from typer.testing import CliRunner

from index.__main__ import app
from index.cli import run_cli
from index.errors import InputError
from index.gate_report import GateLimits, limits_as_arguments, parse_limits
from index.recency import Recency
from index.registry import Registry

LOW = {"valid": {"recall@20": 0.01}}


@pytest.fixture
def bundle(tmp_path) -> Path:
    return write_small_bundle(tmp_path / "registry", n_users=40, n_items=300)


def run(*arguments: object, status: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "160"})
    assert result.exit_code == status, result.output
    return result.output


def worse(bundle: Path) -> Path:
    return write_small_bundle(bundle.parent, after_seconds=1, n_users=40, n_items=300, metrics=LOW)


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
    assert [check["passed"] for check in report["checks"]] == [True] * 12
    run("publish", bundle)
    run("gate", worse(bundle), status=1)
    run("gate", worse(bundle), "--limit", "metric_margin=1")
    assert Registry(bundle.parent).current_id() == bundle.name


def test_publishing_keeps_what_the_gate_found_and_who_moved_the_pointer(bundle):
    run("publish", bundle)
    other = worse(bundle)
    run("publish", other, status=1)
    registry = Registry(bundle.parent)
    refused = registry.record(other.name)
    assert [check.name for check in refused.gate.report.failures] == ["valid recall@20"]
    assert refused.published is None
    run("publish", other, "--force")
    forced = registry.record(other.name).published
    assert (forced.by, forced.why) == ("command line", "forced, though valid recall@20 failed")
    run("rollback", bundle.parent)
    assert registry.record(bundle.name).published.why == "rolled back to"


def test_an_unknown_limit_is_refused_with_what_there_is(bundle):
    for wrong in ("metric_margins=1", "metric_margin"):
        result = CliRunner().invoke(app, ["gate", str(bundle), "--limit", wrong])
        assert isinstance(result.exception, InputError)
        assert "expected NAME=VALUE with one of law_tolerance, index_recall_at" in str(result.exception)
    with pytest.raises(InputError, match=r"overlap_floor: expected less than or equal to 1, found '7'; docs/bundle.md"):
        parse_limits(["overlap_floor=7"])


def test_limits_go_through_words(bundle):
    limits = GateLimits(metric_margin=0.5, metrics=("recall@20",), sample_users=3)
    assert parse_limits(limits_as_arguments(limits)) == limits
    assert limits_as_arguments(GateLimits()) == []
    said = run("gate", bundle, "--limit", "metrics=recall@10,ndcg@10", "--limit", "sample_users=7")
    assert "valid ndcg@10" in said
    assert "over 7 users" in said


def test_users_to_replay_come_from_a_file_or_standard_input(bundle, tmp_path):
    (tmp_path / "users").write_text("user-3\nnobody\nuser-3\n")
    alone = ["--limit", "sample_users=1"]
    assert "over 1 users" in run("gate", bundle, "--replay", tmp_path / "users", *alone)
    result = CliRunner().invoke(app, ["gate", str(bundle), "--replay", "-", *alone], input="user-3\n")
    assert "over 1 users" in result.output
    result = CliRunner().invoke(app, ["gate", str(bundle), "--replay", str(tmp_path / "none")])
    assert "expected a text file of user ids" in str(result.exception)


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


def test_recency_anchor_and_attribute_types_are_shown(bundle):
    said = run("inspect", bundle)
    assert "none: all past items count alike" in said
    assert "no types" in said
    newest = write_small_bundle(
        bundle.parent,
        after_seconds=1,
        recency=Recency(tau=10, floor=0.1),
        anchor=make_anchor(),
        has_own=False,
        attribute_types={"material": "string", "price": "number"},
    )
    said = run("inspect", newest)
    for fact in (
        "exact; no user has an own term",
        "tau 10 events, floor 0.1; a weight halves every 6.9 events",
        "kappa 2, rho 1.25; image 7 wide, text 5 wide",
        "material (string), price (number)",
    ):
        assert fact in said


def test_a_registry_shows_which_bundle_serves(bundle):
    run("publish", bundle)
    assert "serves" in run("inspect", bundle.parent)
    expected = {"bundle": bundle.name, "history": [], "bundles": [bundle.name]}
    assert json.loads(run("inspect", bundle.parent, "--json")) == expected


def test_a_build_makes_a_sibling_that_can_be_published(bundle):
    said = run("build", bundle, "--factory", "IVF8,Flat", "--nprobe", 8)
    assert "recall@20 1.0000" in said
    assert "gate" in run("publish", said.splitlines()[0])


def test_a_build_without_a_factory_chooses_one_and_inspect_shows_why(tmp_path):
    bundle = write_small_bundle(tmp_path, n_users=700, n_items=300)
    said = run("build", bundle, "--exact-below", 100, "--recall-floor", 0.9, "--index-memory", 1, "--index-seconds", 50)
    path, index, recall = said.splitlines()
    assert "with recall@20 of 0.9 within 1 GiB and 50 s" in index
    assert "recall@20 " in recall
    shown = " ".join(run("inspect", path).split())
    for fact in (index, "promise recall@20 of 0.9 or more", "kinds of index tried", "kept", "bytes an item"):
        assert fact in shown
    tried = json.loads(run("inspect", path, "--json"))["index"]["tried"]
    assert [(one["factory"], one["items"], one["outcome"]) for one in tried] == [("Flat", 300, "kept")]
    assert "promise none" in " ".join(run("inspect", bundle).split())


def test_a_small_catalogue_gets_an_exact_index(bundle):
    assert "Flat (exact: 300 items of 8 dimensions; others are tried from 400,000 on)" in run("build", bundle)


def test_settings_are_not_given_to_an_index_that_is_chosen(bundle):
    result = CliRunner().invoke(app, ["build", str(bundle), "--nprobe", "8"])
    assert "nprobe 8 given to auto, which tunes its settings" in str(result.exception)


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


def test_wrong_input_is_one_line_and_exit_status_2(bundle, capfd):
    def in_a_process(arguments: list[str]) -> int:
        return subprocess.run([sys.executable, "-m", "index", *arguments], check=False).returncode

    def here(arguments: list[str]) -> int:
        with pytest.raises(SystemExit) as ended:
            run_cli(lambda: app(arguments))
        return int(str(ended.value.code))

    for ask, arguments, message in (
        (in_a_process, ["inspect", bundle.parent / "nowhere"], "expected a bundle folder"),
        (here, ["build", bundle, "--factory", "Nonsense"], "index factory 'Nonsense' does not fit"),
        (here, ["rollback", bundle.parent], "no earlier bundle"),
    ):
        assert ask([str(argument) for argument in arguments]) == 2
        errors = capfd.readouterr().err
        assert errors.startswith("error: ")
        assert message in errors
        assert errors.count("\n") == 1


def test_a_registry_may_have_any_name(bundle, tmp_path):
    registry = Path(shutil.copytree(bundle.parent, tmp_path / "shop[/bold] [red]"))
    assert "[/bold] [red]" in run("inspect", registry).replace("\n", "")


def test_an_argument_that_is_not_utf_8_is_refused_with_a_next_step(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["index", os.fsdecode(b"\xe9.csv")])
    with pytest.raises(SystemExit):
        run_cli(lambda: None)
    assert "error: argument '\\udce9.csv' has bytes that are not UTF-8; rename the file" in capsys.readouterr().err
