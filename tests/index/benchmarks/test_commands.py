import json

from bundles import write_small_bundle
from typer.testing import CliRunner

from index.__main__ import app

SMALL = ["--items", "2000", "--size", "8", "--queries", "5", "--k", "5"]


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "160"})
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_filter_bench_finds_all_results_whatever_it_chooses():
    lines = json.loads(run("bench-filters", *SMALL, "--factory", "Flat", "--factory", "IVF16,Flat", "--json"))
    chosen = [line for line in lines if line["strategy"] == "chosen" and "left" in line["case"]]
    assert {line["factory"] for line in chosen} == {"Flat", "IVF16,Flat"}
    assert all(line["recall"] == 1 for line in chosen)
    assert {line["strategy"] for line in lines} == {"fetch more alone", "bitmap", "score allowed", "chosen"}


def test_the_delta_bench_has_a_line_for_each_share_and_loses_nothing():
    lines = json.loads(run("bench-delta", *SMALL, "--json"))
    assert [(line["delta"], line["recall"]) for line in lines] == [("0%", 1), ("1%", 1), ("10%", 1)]


def test_the_kinds_bench_ends_with_json_and_goes_on_from_the_rows_it_has(tmp_path):
    arguments = ["--items", "1000", "--size", "8", "--queries", "5", "--k", "5", "--rows", str(tmp_path / "rows")]
    first = run("bench-kinds", *arguments, "--plot", str(tmp_path / "frontier.png"))
    figures = json.loads(first.splitlines()[-1])
    exact = [line for line in figures["rows"] if line["kind"] == "Flat"]
    assert [(line["recall"], line["times_exact"]) for line in exact] == [(1, 1)]
    assert len({line["kind"] for line in figures["rows"]}) > 6
    assert [line["recall"] >= 0.99 for line in figures["fastest"]] == [True]
    assert (tmp_path / "frontier.png").read_bytes()[1:4] == b"PNG"
    assert not list((tmp_path / "rows").glob("*.npy"))  # the vectors were there for the measurement
    assert json.loads(run("bench-kinds", *arguments).splitlines()[-1]) == figures  # times included: nothing ran again


def test_the_kinds_bench_measures_a_bundle_with_its_users_and_only_the_kinds_asked_for(tmp_path):
    bundle = write_small_bundle(tmp_path, n_items=1_100)
    kinds = ["--factory", "SQ8", "--factory", "HNSW32", "--rows", str(tmp_path / "rows")]
    figures = json.loads(run("bench-kinds", "--bundle", str(bundle), "--k", "5", *kinds).splitlines()[-1])
    assert {line["kind"] for line in figures["rows"]} == {"Flat", "SQ8", "HNSW32"}
    assert {(line["data"], line["items"]) for line in figures["rows"]} == {(bundle.name, 1_100)}
    assert max(line["recall"] for line in figures["rows"] if line["kind"] == "HNSW32") > 0.95


def test_the_benches_print_tables():
    assert "compaction s" in run("bench-delta", *SMALL)


def test_a_table_that_is_no_terminals_is_not_cut_at_80_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    result = CliRunner().invoke(app, ["bench-delta", *SMALL])
    assert "recall" in result.stdout
    assert "compaction s" in result.stdout
    assert "…" not in result.stdout


def test_help_teaches_by_an_example():
    for command in ("bench-kinds", "bench-filters", "bench-delta"):
        assert f"python -m index {command} --items" in " ".join(run(command, "--help").split())
