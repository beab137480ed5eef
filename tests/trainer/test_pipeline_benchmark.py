"""The benchmark of the commands from files to a bundle: what it runs, and how it extrapolates."""

import json
import math

import numpy as np
import pytest
from typer.testing import CliRunner

from index.errors import InputError
from trainer.__main__ import app
from trainer.pipeline_benchmark import estimates, run_stage, shape_of, stages, write_source
from trainer.pipeline_estimate import estimated


def test_the_full_size_is_a_million_items_two_million_users_and_fifty_million_interactions():
    shape = shape_of(1_000_000)
    assert (shape.n_items, shape.n_users, shape.n_pairs) == (1_000_000, 2_000_000, 50_000_000)


def test_what_follows_a_power_law_is_extrapolated_along_it():
    sizes = (10, 20, 50)
    law = estimated(sizes, [3 + 2 * n**1.5 for n in sizes], start=3, full_size=400)
    assert law.exponent == pytest.approx(1.5)
    assert (law.value, law.at(400)) == pytest.approx((3 + 2 * 400**1.5, 3 + 2 * 400**1.5))
    assert law.low == pytest.approx(law.high)


def test_the_interval_is_wider_the_more_the_measurements_scatter():
    sizes = (10, 20, 40, 80)
    wobbles = (np.array([1, 1 + share, 1, 1 + share]) for share in (0.01, 0.2))
    spread = [estimated(sizes, list(sizes * wobble), start=0, full_size=800) for wobble in wobbles]
    assert spread[1].high / spread[1].low > spread[0].high / spread[0].low > 1
    assert all(law.low < law.value < law.high for law in spread)


def test_a_straight_line_goes_on_from_the_smallest_and_the_largest_size():
    assert estimated((10, 40, 20), (1, 7, 2), start=0, full_size=100).straight == pytest.approx(19)


def test_two_sizes_give_an_estimate_without_a_bound():
    assert estimated((10, 20), (1, 2), start=0, full_size=40).high == math.inf


def test_a_command_that_fails_ends_the_benchmark():
    with pytest.raises(Exception, match="non-zero exit status 3"):
        run_stage(10, "prepare", ["-c", "raise SystemExit(3)"])


def test_the_memory_of_a_command_is_counted_not_that_of_others():
    small, large = (run_stage(10, "x", ["-c", f"block = bytearray({size})"]) for size in (1, 900_000_000))
    assert large.peak_gb > 0.9
    assert large.peak_gb > small.peak_gb


def test_the_same_files_are_made_up_every_time(tmp_path):
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        write_source(folder, shape_of(40))
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()
    assert {file.name for file in (tmp_path / "one").iterdir()} == {
        "interactions.parquet",
        "items.parquet",
        "text.npy",
        "image.npy",
    }


def test_each_stage_reads_what_the_ones_before_it_wrote(tmp_path):
    write_source(tmp_path, shape_of(300))
    costs = [run_stage(300, name, arguments) for name, arguments in stages(tmp_path).items() if name != "lightgcn"]
    assert [cost.stage for cost in costs] == ["prepare", "graphs", "anchorease", "export"]
    assert len(list((tmp_path / "bundles").glob("*/manifest.json"))) == 1


def test_the_command_ends_with_a_picture_and_one_json_line(tmp_path):
    sizes = ["--sizes", "210,220", "--stage", "prepare", "--full-size", "1000"]
    result = CliRunner().invoke(
        app, ["bench-pipeline", *sizes, "--folder", str(tmp_path), "--plot", str(tmp_path / "cost.png")]
    )
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout.splitlines()[-1])
    assert [cost["n_items"] for cost in record["measured"]] == [200, 210, 220]
    assert record["full_size"] == 1000
    assert record["estimates"]["prepare"]["peak_gb"]["value"] > 0.05
    assert [file.name for file in tmp_path.iterdir()] == ["cost.png"]


def test_a_stage_of_one_size_has_no_estimate():
    assert estimates([run_stage(n, "x", ["-c", ""]) for n in (200, 300)], 1000) == {}


@pytest.mark.parametrize("arguments", [["--stage", "publish"], ["--sizes", "200,1000"]])
def test_unknown_stages_and_sizes_below_the_start_are_refused(arguments):
    result = CliRunner().invoke(app, ["bench-pipeline", *arguments])
    assert isinstance(result.exception, InputError)
    assert "expected" in str(result.exception)
