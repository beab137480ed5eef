"""Disks that fill up and processes that are killed: real ones, so in processes of their own."""

import os
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest
from bundles import MADE_AT, make_content, write_small_bundle

from index.auto.choice import AutoLimits
from index.bundle import BundleContent, open_bundle, write_bundle
from index.errors import InputError
from index.manifest import MANIFEST
from index.registry import Registry
from index.storage import TEMPORARY_PREFIX

TESTS = Path(__file__).parents[1]


def run_python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(TESTS)!r})\n{code}", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


FULL_DISK = """
import resource, signal
from pathlib import Path
from bundles import write_small_bundle
from index.errors import InputError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for limit in map(int, sys.argv[2:]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        write_small_bundle(Path(sys.argv[1]), factory="HNSW32")
    except InputError as error:
        print(limit, error)
"""
# Of this bundle: an array of items takes 1,408 bytes, the item records 4,480, the HNSW index 12,226.
LIMITS = [0, 100, 1_200, 4_000, 10_000, 12_225]


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path):
    done = run_python(FULL_DISK, tmp_path / "registry", *LIMITS)
    lines = done.stdout.splitlines()
    assert [int(line.split()[0]) for line in lines] == LIMITS, done.stderr
    assert all("cannot write into" in line and line.endswith("nothing was left") for line in lines)
    assert list((tmp_path / "registry").iterdir()) == []


# The child kills itself, as kill -9 does, at its n-th call that makes something durable or moves a name.
KILLED_AT_EVERY_STEP = """
import os, signal
from pathlib import Path
from bundles import make_content, write_small_bundle
from index.bundle import open_bundle
from index.manifest import MANIFEST
from index.registry import Registry

def die_at(step):
    left = [step]
    def counted(call):
        def run(*arguments, **options):
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return call(*arguments, **options)
        return run
    os.fsync = lambda handle: None  # what a process wrote outlives the process; only power cuts need the disk
    for name in ("fsync", "rename", "replace"):
        setattr(os, name, counted(getattr(os, name)))

registry, step = Registry(Path(sys.argv[1])), 0
while True:
    child = os.fork()
    if not child:
        die_at(step)
        registry.publish(write_small_bundle(registry.folder).name)
        os._exit(0)
    killed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    for bundle_id in registry.ids():
        open_bundle(registry.path(bundle_id))
    if registry.current_id():
        open_bundle(registry.current())
    print(step, killed, len(registry.ids()), registry.current_id() is not None)
    if not killed:
        break
    step += 1
"""


def test_a_writer_killed_at_any_step_leaves_no_half_bundle(tmp_path):
    registry = Registry(tmp_path / "registry")
    done = run_python(KILLED_AT_EVERY_STEP, registry.folder)
    assert done.returncode == 0, done.stderr
    steps = [line.split()[1:] for line in done.stdout.splitlines()]
    assert len(steps) > 30  # every file and folder is made durable
    assert steps[0] == ["True", "0", "False"]
    assert steps[-1] == ["False", "1", "True"]
    assert list(registry.folder.glob(f"{TEMPORARY_PREFIX}*"))  # what the killed left lies there, unseen
    registry.prune(1)
    assert not list(registry.folder.glob(f"{TEMPORARY_PREFIX}*"))
    assert open_bundle(registry.current()).bundle_id == registry.current_id()


SLOW_WRITER = """
import os, time
from pathlib import Path
from bundles import write_small_bundle
sync = os.fsync
os.fsync = lambda handle: (time.sleep(0.05), sync(handle))
write_small_bundle(Path(sys.argv[1]))
"""


def test_prune_tells_a_living_writer_from_a_killed_one(tmp_path):
    registry = Registry(tmp_path)
    code = f"import sys; sys.path.insert(0, {str(TESTS)!r})\n{SLOW_WRITER}"
    writer = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    try:
        (leftover,) = _wait_for(lambda: list(tmp_path.glob(f"{TEMPORARY_PREFIX}*/*"))[:1])
        registry.prune(0)
        assert leftover.exists()
        writer.kill()
        writer.wait()
        registry.prune(0)
        assert not leftover.parent.exists()
        assert registry.ids() == []
    finally:
        writer.kill()
        writer.wait()


def _wait_for(condition):
    deadline = time.monotonic() + 30
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return found


def test_every_file_and_folder_is_durable_before_the_bundle_gets_its_name(tmp_path, monkeypatch):
    calls: list[tuple[str, Path]] = []

    def noted_sync(handle: int) -> None:
        calls.append(("sync", Path(os.readlink(f"/proc/self/fd/{handle}"))))

    def noted_rename(old: Path, new: Path) -> None:
        calls.append(("rename", Path(old)))
        rename(old, new)

    rename = os.rename
    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(os, "rename", noted_rename)
    bundle = write_small_bundle(tmp_path)
    renamed = [kind for kind, _ in calls].index("rename")
    temporary = calls[renamed][1]
    synced = {path.relative_to(temporary) for kind, path in calls[:renamed] if kind == "sync"}
    assert synced == {path.relative_to(bundle) for path in [bundle, *bundle.rglob("*")]}
    assert calls[renamed + 1 :] == [("sync", tmp_path)]


def test_a_registry_that_cannot_be_written_to_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match=r"cannot write into .*file.*Not a directory"):
        write_small_bundle(tmp_path / "file")


def test_a_creation_time_without_a_zone_is_refused(tmp_path):
    with pytest.raises(InputError, match="without a time zone"):
        write_bundle(tmp_path, make_content(), created_at=datetime(2026, 1, 1))


def test_an_index_factory_that_does_not_fit_is_refused(tmp_path):
    for factory, reason in {"Nonsense": "could not parse", "IVF4096,Flat": "does not fit 40 vectors of 8"}.items():
        with pytest.raises(InputError, match=reason):
            write_small_bundle(tmp_path, factory=factory)
    assert list(tmp_path.iterdir()) == []


def test_the_same_content_at_the_same_time_is_one_bundle_also_where_the_index_is_chosen_by_measured_times(tmp_path):
    content, other = make_content(n_users=700, n_items=200), make_content(n_users=700, n_items=200, seed=1)

    def write(content: BundleContent, floor: float = 0.9) -> Path:
        limits = AutoLimits(recall_floor=floor, exact_below=0)
        return write_bundle(tmp_path, content, created_at=MADE_AT, limits=limits)

    first = write(content)
    assert open_bundle(first).manifest.index.tried
    assert write(content) == first
    assert (
        len({first, write(other), write(content, floor=0.8), write_bundle(tmp_path, content, created_at=MADE_AT)}) == 4
    )
    assert len(Registry(tmp_path).ids()) == 4


def test_a_damaged_bundle_does_not_stand_for_the_same_content(tmp_path):
    content = make_content(n_users=700, n_items=200)
    first = write_bundle(tmp_path, content, created_at=MADE_AT, limits=AutoLimits(exact_below=0))
    (first / MANIFEST).write_text("{}")
    again = write_bundle(tmp_path, content, created_at=MADE_AT, limits=AutoLimits(exact_below=0))
    assert again != first
    assert open_bundle(again).manifest.index.promised == 0.99
