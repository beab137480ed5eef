"""A run that ends early leaves whole parts, from which the same command goes on; the file is whole or not there."""

import asyncio
import json
import signal
import time
from pathlib import Path

import forkserver
import pyarrow.parquet as pq
import pytest
from disks import full_disk
from processes import environment
from processes import run as command

from index.errors import InputError
from index.storage import TEMPORARY_PREFIX, locked
from service.batch.lists import ListOptions
from service.batch.run import Made, RunRequest, make_lists
from service.batch.workers import Part, RunPlan, children
from service.settings import Settings

KILLED = """
import os, signal, sys

from index.cli import run_cli
from service.__main__ import app
from service.batch import run, workers

left, write_part = int(sys.argv.pop(1)), workers.write_part

def write_or_die(*arguments):
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    write_part(*arguments)

workers.write_part, run.PART_USERS = write_or_die, 4
run_cli(app)
"""


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.batch.run.PART_USERS", 4)  # of 30 users: 8 parts


def made(registry: Path, out: Path, k: int = 5) -> Made:
    request = RunRequest("all", out, ListOptions(k), 1)
    settings = Settings(registry=registry, data=out.parent / "data")
    return asyncio.run(make_lists(settings, request, lambda done, total: None, now=time.time()))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"data"}


def test_after_kill_9_the_run_goes_on_from_the_parts_that_it_has(registry: Path, tmp_path: Path) -> None:
    out = tmp_path / "lists.parquet"
    arguments = [3, "batch", "--users", "all", "--out", str(out), "--k", "5", "--workers", "1"]
    variables = environment({"registry": registry, "data": tmp_path / "data"})
    assert forkserver.start("service", arguments, code=KILLED, env=variables).wait(60) == -signal.SIGKILL
    assert names(tmp_path) == {"lists.parquet.parts"}
    (tmp_path / f"{TEMPORARY_PREFIX}{out.name}-left").touch()  # of a run that was killed while it joined parts
    assert made(registry, out).kept_parts == 3
    assert names(tmp_path) == {"lists.parquet"}
    (tmp_path / "other").mkdir()
    made(registry, tmp_path / "other" / "lists.parquet")
    assert pq.read_table(out).equals(pq.read_table(tmp_path / "other" / "lists.parquet"))


@pytest.mark.parametrize("room", [0, 1_000, 4_000])
def test_a_full_disk_is_one_line_and_the_same_command_goes_on(registry: Path, tmp_path: Path, room: int) -> None:
    out = tmp_path / "lists.parquet"
    with full_disk(room), pytest.raises(InputError, match=r"lists.parquet cannot be written: .*goes on"):
        made(registry, out, k=400)
    assert not out.exists()
    whole = made(registry, out, k=400)
    assert whole.rows == pq.read_table(out).num_rows
    assert names(tmp_path) == {"lists.parquet"}


def test_parts_of_other_lists_are_not_used(registry: Path, tmp_path: Path) -> None:
    out = tmp_path / "lists.parquet"
    with full_disk(2_000), pytest.raises(InputError, match="cannot be written"):
        made(registry, out, k=2)  # the parts fit, and the whole does not
    assert len(list((tmp_path / "lists.parquet.parts").glob("part-*"))) == 8
    assert made(registry, out, k=3).kept_parts == 0
    assert max(pq.read_table(out)["rank"].to_pylist()) == 3


def test_the_earlier_file_stays_until_the_new_one_is_whole(registry: Path, tmp_path: Path) -> None:
    out = tmp_path / "lists.parquet"
    made(registry, out, k=2)
    before = out.read_bytes()
    with full_disk(1_000), pytest.raises(InputError):
        made(registry, out, k=30)
    assert out.read_bytes() == before


def test_two_runs_do_not_write_into_one_file(registry: Path, tmp_path: Path) -> None:
    folder = tmp_path / "lists.parquet.parts"
    folder.mkdir()
    with locked(folder), pytest.raises(InputError, match="another run writes there"):
        made(registry, tmp_path / "lists.parquet")


def test_a_process_that_fails_or_ends_is_said_to(registry: Path, tmp_path: Path) -> None:
    settings = Settings(registry=registry, data=tmp_path)
    part = Part(tmp_path / "part", tmp_path / "lists.parquet", ["user-1"], frozenset())

    async def use() -> None:
        async with children(RunPlan(settings, "no-bundle", ListOptions(5), 0.0), 1) as (child,):
            with pytest.raises(InputError, match="no-bundle"):
                await child.make(part)
            with pytest.raises(InputError, match="a process that made lists ended with 0; the same command goes on"):
                await child.make(part)

    asyncio.run(use())


def test_a_folder_is_no_file_to_write(registry: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        made(registry, tmp_path)


def test_the_command_says_what_it_wrote_and_what_is_wrong_in_one_line(registry: Path, tmp_path: Path) -> None:
    variables = {"registry": registry, "data": tmp_path / "data"}
    arguments = ["batch", "--users", "all", "--out", str(tmp_path / "lists.parquet"), "--workers", "1"]
    done = command(*arguments, "--category", "lamp", "--no-exclude-seen", **variables)
    told = json.loads(done.stdout)
    assert (told["users"], told["rows"], told["hidden_items"]) == (30, 300, "current")
    for wrong, said in (
        (["--require", "oak"], "error: require: expected name:value, found 'oak'"),
        (["--users", str(tmp_path / "none.parquet")], "no such file; expected a Parquet file with a column user_id"),
    ):
        failed = command(*arguments, *wrong, **variables)
        assert (failed.returncode, failed.stdout) == (2, "")
        assert said in failed.stderr
        assert failed.stderr.count("\n") == 1
