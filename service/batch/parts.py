"""The Parquet file of a run, and the parts that it is made of: a run that was interrupted goes on from those it has."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from index.errors import InputError
from index.ids import IdTable
from index.storage import TEMPORARY_PREFIX, atomic_writer, locked, remove_leftovers, remove_tree, replace_file
from service.batch.lists import UserList

RUN = "run.json"
COLUMNS = ("user_id", "source", "rank", "item_id", "score")


@dataclass(frozen=True)
class Parts:
    """The folder of parts beside the file that they will become; each is whole or not there."""

    out: Path
    folder: Path
    n: int

    def path(self, number: int) -> Path:
        return self.folder / f"part-{number:06}.parquet"

    def missing(self) -> frozenset[int]:
        """The numbers of the parts that are still to be made."""
        return frozenset(number for number in range(self.n) if not self.path(number).exists())

    def join(self, about: Mapping[str, Any]) -> int:
        """Write all parts into the file, one after another, and remove them; returns the number of rows."""
        import pyarrow.parquet as pq  # noqa: PLC0415 - slow to import, and only this command needs it

        n_rows = 0
        schema = _schema().with_metadata({"anchorrec": orjson.dumps(dict(about))})
        with writing(self.out), atomic_writer(self.out) as file, _writer(file, schema) as writer:
            for number in range(self.n):
                table = pq.read_table(self.path(number), partitioning=None)
                writer.write_table(table)  # a row group for each part
                n_rows += table.num_rows
        shutil.rmtree(self.folder)
        return n_rows


@contextmanager
def open_parts(out: Path, about: Mapping[str, Any], n: int) -> Iterator[Parts]:
    """The parts of a run, which `about` describes: those of another run are removed, and of the same one are kept.

    InputError where another process writes them now, or where they cannot be written.
    """
    folder = out.with_name(f"{out.name}.parts")
    if out.is_dir():
        raise InputError(f"{out} is a folder; expected the name of a file to write")
    with writing(out):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with locked(folder, wait=False):
            _begin(folder, out, orjson.dumps(dict(about), option=orjson.OPT_SORT_KEYS))
            yield Parts(out, folder, n)
    except BlockingIOError:
        raise InputError(f"{folder}: another run writes there; expected one at a time") from None


def _begin(folder: Path, out: Path, about: bytes) -> None:
    """Leave in the folder only whole parts of this run."""
    with writing(out):
        run = folder / RUN
        if not (run.is_file() and run.read_bytes() == about):
            for path in folder.iterdir():
                remove_tree(path)
            replace_file(run, about)
        remove_leftovers(folder)
        for unfinished in out.parent.glob(f"{TEMPORARY_PREFIX}{out.name.replace('[', '[[]')}-*"):
            unfinished.unlink()


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """An OSError, such as of a full disk, becomes an InputError that says what is left."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{out} cannot be written: {error.strerror or error}; whole parts are kept: the same command goes on"
        ) from error


def write_part(path: Path, lists: Sequence[UserList], item_ids: IdTable) -> None:
    """Write the lists of some users, which appear at once; OSError where that fails."""
    with atomic_writer(path) as file, _writer(file, _schema()) as writer:
        writer.write_table(_table(lists, item_ids))


def _schema() -> Any:
    import pyarrow as pa  # noqa: PLC0415

    text = pa.string()
    kinds = {"source": pa.dictionary(pa.int8(), text), "rank": pa.int32(), "score": pa.float32()}
    return pa.schema([pa.field(name, kinds.get(name, text), nullable=False) for name in COLUMNS])


def _writer(file: Any, schema: Any) -> Any:
    import pyarrow.parquet as pq  # noqa: PLC0415

    return pq.ParquetWriter(file, schema, compression="zstd")


def _table(lists: Sequence[UserList], item_ids: IdTable) -> Any:
    import pyarrow as pa  # noqa: PLC0415

    lengths = np.array([len(one.rows) for one in lists], np.int64)
    users = np.repeat(np.arange(len(lists)), lengths)
    rows = np.concatenate([np.empty(0, np.int64), *(one.rows for one in lists)])
    named, codes = np.unique(rows, return_inverse=True)
    sources = sorted({one.source for one in lists})
    of_users = np.array([sources.index(one.source) for one in lists], np.int8)
    starts = np.array([0, *accumulate(lengths.tolist())][:-1], np.int64)
    columns = {
        "user_id": _text(users, [one.user_id for one in lists]),
        "source": pa.DictionaryArray.from_arrays(of_users[users], pa.array(sources, pa.string())),
        "rank": pa.array((np.arange(len(rows)) - starts[users] + 1).astype(np.int32)),
        "item_id": _text(codes, [item_ids[row] for row in named.tolist()]),
        "score": pa.array(np.concatenate([np.empty(0, np.float32), *(one.scores for one in lists)], dtype=np.float32)),
    }
    return pa.table(columns, schema=_schema())


def _text(codes: Any, values: Sequence[str]) -> Any:
    """The value of each code, as text."""
    import pyarrow as pa  # noqa: PLC0415

    return pa.DictionaryArray.from_arrays(codes.astype(np.int32), pa.array(values, pa.string())).cast(pa.string())
