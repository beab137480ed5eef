"""Whatever lies in a file's place, a reader ends at once with one sentence, and takes no memory for it."""

import json
import os
import signal
import socket
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bundles import edited, write_small_bundle, write_tiny_bundle

from index.__main__ import app
from index.bundle import BundleError, open_bundle
from index.cli import run_cli
from index.errors import InputError
from index.gate import check_bundle
from index.manifest import INDEX, MANIFEST, digest_of, manifest_bytes, parse_manifest
from index.reading import map_array
from index.records import record_name
from index.registry import POINTER, Registry
from index.storage import TEMPORARY_PREFIX, remove_leftovers

MOST_S = 20


@pytest.fixture(autouse=True)
def no_hanging() -> Iterator[None]:
    """A reader that waits for a pipe would wait for ever."""

    def told(number: int, frame: object) -> None:
        raise AssertionError(f"still reading after {MOST_S} s")

    before = signal.signal(signal.SIGALRM, told)
    signal.alarm(MOST_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def a_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's name is short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


KINDS: dict[str, Callable[[Path], None]] = {
    "pipe": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "folder": Path.mkdir,
    "socket": a_socket,
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "loop of links": lambda path: path.symlink_to(path.name),
}


def replace_by(kind: str, path: Path) -> None:
    path.unlink(missing_ok=True)
    KINDS[kind](path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [MANIFEST, INDEX, "fold_in.npy"])
def test_what_is_no_file_is_a_damaged_bundle(tmp_path, kind, name):
    bundle = write_tiny_bundle(tmp_path, 0)
    replace_by(kind, bundle / name)
    for verify in (True, False):
        with pytest.raises(BundleError, match=Path(name).name):
            open_bundle(bundle, verify=verify).index()
    assert not check_bundle(bundle, None).passed


@pytest.mark.parametrize("kind", KINDS)
def test_no_command_waits_for_what_is_no_file(tmp_path, kind, monkeypatch, capsys):
    good, bad = write_tiny_bundle(tmp_path, 0), write_tiny_bundle(tmp_path, 1, seed=1)
    Registry(tmp_path).publish(good.name)
    replace_by(kind, bad / MANIFEST)
    replace_by(kind, tmp_path / f"{TEMPORARY_PREFIX}x")
    (tmp_path / "records").mkdir(exist_ok=True)
    replace_by(kind, tmp_path / record_name(good.name))
    for expected, *words in (
        (2, "inspect", bad),
        (1, "gate", bad),
        (1, "publish", bad),
        (2, "publish", "--force", bad),
    ):
        assert ended(monkeypatch, *words) == expected, words
        told = capsys.readouterr()
        assert "Traceback" not in told.err
        assert expected == 1 or told.err.splitlines()[-1].startswith("error: ")
    for words in (("inspect", tmp_path), ("prune", tmp_path), ("gate", good)):
        assert ended(monkeypatch, *words) == 0, words
    assert not list(tmp_path.glob(f"{TEMPORARY_PREFIX}*"))
    replace_by(kind, tmp_path / POINTER)
    for words in (("inspect", tmp_path), ("publish", good), ("rollback", tmp_path)):
        assert ended(monkeypatch, *words) == (0 if kind == "dangling link" and words[0] != "rollback" else 2), words


def ended(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr("sys.argv", ["index", *map(str, words)])
    try:
        run_cli(app)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_leftovers_that_are_no_files_go_and_their_targets_stay(tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / f"{TEMPORARY_PREFIX}link").symlink_to("target")
    for kind, make in KINDS.items():
        make(tmp_path / f"{TEMPORARY_PREFIX}{kind.replace(' ', '-')}")
    assert len(remove_leftovers(tmp_path)) == len(KINDS) + 1
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def npy(header: str, data: bytes = bytes(64), magic: bytes = b"\x93NUMPY\x01\x00") -> bytes:
    text = header.encode("latin1") + b"\n"
    return magic + len(text).to_bytes(2, "little") + text + data


HEADERS = {
    "an open bracket": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (16,"),
    "an open string": npy("{'descr': '<f4"),
    "a deep nesting": npy("(" * 9_000),
    "no dictionary": npy("7"),
    "no shape": npy("{'descr': '<f4', 'fortran_order': False}"),
    "a shape of text": npy("{'descr': '<f4', 'fortran_order': False, 'shape': ('16',)}"),
    "a negative shape": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-4, -4)}"),
    "an exabyte": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (288230376151711744,)}"),
    "beyond 64 bit": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 1)}"),
    "objects": npy("{'descr': '|O', 'fortran_order': False, 'shape': (8,)}"),
    "nothing an element": npy("{'descr': '|V0', 'fortran_order': False, 'shape': (64,)}"),
    "an unknown type": npy("{'descr': '<q4', 'fortran_order': False, 'shape': (16,)}"),
    "Fortran order": npy("{'descr': '<f4', 'fortran_order': True, 'shape': (4, 4)}"),
    "a byte too many": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (16,)}", bytes(65)),
    "a byte too few": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (16,)}", bytes(63)),
    "another version": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (16,)}", magic=b"\x93NUMPY\x03\x00"),
    "another magic": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (16,)}", magic=b"\x93NUMPX\x01\x00"),
    "an archive": b"PK\x03\x04" + bytes(60),
    "a pickle": b"\x80\x04]\x94." + bytes(60),
    "nothing": b"",
}


@pytest.mark.parametrize("header", HEADERS)
def test_an_array_whose_header_is_wrong_is_refused_before_memory_is_taken(tmp_path, header):
    file = tmp_path / "a.npy"
    file.write_bytes(HEADERS[header])
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"a\.npy cannot be read \(.+\); expected a whole \.npy file"):
            map_array(file)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def record(tmp_path_factory) -> dict:
    return json.loads((write_tiny_bundle(tmp_path_factory.mktemp("bundles"), 0) / MANIFEST).read_bytes())


TRIED = {"factory": "Flat", "items": 40, "recall": 1.0, "ms": 0.1, "build_s": 0, "bytes_per_item": 32, "outcome": ""}
WRONG_CHOICES = [
    {"promised": 0},
    {"promised": 1.5},
    {"why": 7},
    {"why": "x" * 1_001},
    {"tried": TRIED},
    {"tried": [{}]},
    {"tried": [TRIED | {"recall": 1.1}]},
    {"tried": [TRIED | {"ms": -1}]},
    {"tried": [TRIED | {"items": 0}]},
    {"tried": [TRIED | {"settings": {"nprobe": 2**70}}]},
    {"tried": [TRIED | {"device": "cpu"}]},
    {"tried": [TRIED] * 1_001},
]
WRONG_VALUES = [
    {"n_users": 2**70},
    {"seed": 2**70},
    {"events_position": -(2**70)},
    {"index": {"factory": "Flat", "settings": {"nprobe": 2**70}, "recall": {}}},
    *({"index": {"factory": "Flat", "recall": {}, **wrong}} for wrong in WRONG_CHOICES),
    {"parts": []},
    {"parts": {}},
    {"files": []},
    {"created_at": "2026-01-01T00:00:00"},
    {"created_at": 1e300},
    {"fold_in": None},
    {"recency": {"tau": 0.0, "floor": 0.0}},
    {"recency": {"tau": 10.0, "floor": 1.0}},
    {"user_own": None},
    {"anchor": {"kappa": 2.0, "rho": 1.0, "widths": {"text": 0}}},
    {"anchor": {"kappa": 2.0, "rho": 1.0, "widths": {}}},
    {"anchor": {"kappa": -1.0, "rho": 1.0, "widths": {"text": 5}}},
    {"format": 1.5},
]


@pytest.mark.parametrize("wrong", WRONG_VALUES, ids=str)
def test_a_manifest_of_wrong_values_is_refused_though_its_digest_is_right(record, wrong):
    changed = record | wrong
    changed["bundle_id"] = changed["bundle_id"][:-8] + digest_of(changed)
    with pytest.raises(BundleError, match=next(iter(wrong))):
        parse_manifest(manifest_bytes(changed), "b")


def test_an_edited_list_of_what_was_tried_is_found(record):
    index = {"factory": "Flat", "recall": {}, "promised": 0.99, "tried": [TRIED], "why": "it is exact"}
    changed = record | {"index": index}
    changed["bundle_id"] = changed["bundle_id"][:-8] + digest_of(changed)
    assert parse_manifest(manifest_bytes(changed), "b").index.tried[0].ms == 0.1
    changed["index"] = index | {"tried": [TRIED | {"ms": 0.2}]}
    with pytest.raises(BundleError, match="it was edited"):
        parse_manifest(manifest_bytes(changed), "b")


def with_seed(text: bytes) -> Callable[[bytes], bytes]:
    return lambda manifest: manifest.replace(b'"seed": 0', b'"seed": ' + text)


BROKEN_TEXTS = {
    "not a number": with_seed(b"NaN"),
    "infinite": with_seed(b"-Infinity"),
    "too large a number": with_seed(b"1e999"),
    "a number of 5,000 digits": with_seed(b"9" * 5_000),
    "a deep nesting": with_seed(b"[" * 100_000 + b"]" * 100_000),
    "a deep nesting that opens only": with_seed(b"[" * 1_000_000),
    "a lone surrogate": with_seed(rb'"\ud800"'),
    "a lone surrogate in a key": with_seed(rb'0, "\udfff": 1'),
    "a key twice": with_seed(b'0, "seed": 0'),
    "no UTF-8": with_seed(b'"\xff\xfe"'),
    "UTF-16": lambda manifest: manifest.decode().encode("utf-16"),
    "zeros": lambda manifest: bytes(len(manifest)),
    "half": lambda manifest: manifest[: len(manifest) // 2],
    "a list as format": lambda manifest: b'{"format": ' + b"[" * 900 + b"]" * 900 + b"}",
    "a long text as id": lambda manifest: b'{"format": 1, "bundle_id": "' + b"x" * 100_000 + b'"}',
}


@pytest.mark.parametrize("broken", BROKEN_TEXTS)
def test_a_manifest_that_is_no_sound_json_is_refused_in_one_short_sentence(record, broken):
    with pytest.raises(BundleError) as refused:
        parse_manifest(BROKEN_TEXTS[broken](manifest_bytes(record)), "b")
    told = str(refused.value)
    assert len(told) < 500
    assert "\n" not in told
    told.encode()  # no lone surrogate, which could be neither printed nor sent


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("user_ids/offsets.npy", lambda offsets: offsets.__setitem__(3, 2**62)),
        ("items/offsets.npy", lambda offsets: offsets.__setitem__(0, -1)),
        ("seen/user_offsets.npy", lambda offsets: offsets.__setitem__(-1, 0)),
        ("seen/user_items.npy", lambda rows: rows.__setitem__(0, 40)),
        ("seen/item_users.npy", lambda rows: rows.__setitem__(0, -1)),
        ("item_ids/rows.npy", lambda rows: rows.__setitem__(0, 2**40)),
        ("user_ids/bytes.npy", lambda text: text.__setitem__(0, 0xFF)),
        ("item_ids/bytes.npy", lambda text: text.__setitem__(slice(5, 7), list("é".encode()))),  # item-0 and item-1
    ],
)
def test_rows_offsets_and_ids_that_no_request_could_follow_are_refused_though_sums_are_right(tmp_path, name, edit):
    bundle = edited(write_small_bundle(tmp_path), name, edit)
    with pytest.raises(BundleError, match=name):
        open_bundle(bundle, verify=False)


def test_no_force_publishes_a_damaged_bundle(tmp_path, monkeypatch, capsys):
    bundle = write_tiny_bundle(tmp_path, 0)
    data = (bundle / "user_own.npy").read_bytes()
    (bundle / "user_own.npy").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert ended(monkeypatch, "publish", "--force", bundle) == 2
    assert "user_own.npy has sha256" in capsys.readouterr().err.splitlines()[-1]
    assert Registry(tmp_path).current_id() is None


def test_a_file_of_absurd_size_is_refused_before_it_is_read(tmp_path):
    bundle = write_tiny_bundle(tmp_path, 0)
    for name in (INDEX, "items/bytes.npy", MANIFEST):
        before = (bundle / name).stat().st_size
        os.truncate(bundle / name, 1 << 40)  # sparse
        with pytest.raises(BundleError, match=r"1,099,511,627,776 bytes; expected (at most|1 to)"):
            open_bundle(bundle)
        os.truncate(bundle / name, before)


def test_a_file_that_is_said_to_be_empty_is_not_read_as_some_of_proc_never_end(tmp_path):
    bundle = write_tiny_bundle(tmp_path, 0)
    for name in (INDEX, "fold_in.npy"):
        (bundle / name).unlink()
        (bundle / name).symlink_to("/proc/kmsg")
        with pytest.raises(BundleError):
            open_bundle(bundle)
