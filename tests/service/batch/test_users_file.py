"""The users of a run come from a file that is checked before anything is written."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from index.bundle import Bundle
from index.errors import InputError
from service.batch.users_file import Users, users_of


def no_one(_: str) -> bool:
    """Who was forgotten."""
    return False


def users(path: Path, bundle: Bundle, column: Any) -> Users:
    pq.write_table(pa.table({"user_id": column}), path, row_group_size=3)
    return users_of(str(path), bundle.user_ids, no_one, 5)


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())], ids=str
)
def test_text_of_any_kind_is_read_in_its_order(tmp_path: Path, bundle: Bundle, kind: Any) -> None:
    ids = ["b", "a", "用", "b", "\x00"]
    found = users(tmp_path / "users.parquet", bundle, pa.array(ids).cast(kind))
    assert len(found) == 5
    assert [one for batch in found.batches(2) for one in batch] == ids
    assert all(len(batch) <= 2 for batch in found.batches(2))


def test_the_digest_tells_users_and_their_order(tmp_path: Path, bundle: Bundle) -> None:
    digests = {
        users(tmp_path / "u", bundle, ids).digest(2) for ids in (["a", "b"], ["b", "a"], ["a", "b", "c"], ["ab"])
    }
    assert len(digests) == 4
    assert users(tmp_path / "u", bundle, ["a", "b"]).digest(2) in digests


def test_all_are_the_users_of_the_bundle(bundle: Bundle) -> None:
    found = users_of("all", bundle.user_ids, no_one, 5)
    assert [one for batch in found.batches(7) for one in batch] == [f"user-{row}" for row in range(30)]


def test_forgotten_people_are_not_among_all(bundle: Bundle) -> None:
    found = users_of("all", bundle.user_ids, lambda user_id: user_id in ("user-0", "user-7"), 9)
    assert len(found) == 28
    assert not {"user-0", "user-7"} & {one for batch in found.batches(7) for one in batch}


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ([], "has no users"),
        ([1, 2], "user_id is int64; expected text"),
        (["a", None], "user_id of row 1 has none; expected 1 to 5 characters"),
        (["a", "b", "c", "d", ""], "user_id of row 4 has 0 characters"),
        (["a", "longer"], "user_id of row 1 has 6 characters; expected 1 to 5"),
    ],
)
def test_a_wrong_column_is_refused_with_its_place(tmp_path: Path, bundle: Bundle, column: Any, said: str) -> None:
    column = column or pa.array([], pa.string())
    with pytest.raises(InputError, match=said):
        users(tmp_path / "users.parquet", bundle, column).digest(3)


def test_a_file_without_the_column_says_what_it_has(tmp_path: Path, bundle: Bundle) -> None:
    pq.write_table(pa.table({"id": ["a"], "name": ["b"]}), tmp_path / "users.parquet")
    with pytest.raises(InputError, match="has the columns id, name; expected user_id"):
        users_of(str(tmp_path / "users.parquet"), bundle.user_ids, no_one, 5).digest(3)


@pytest.mark.parametrize("content", [None, b"", b"user_id\nann\n", b"PAR1" * 9])
def test_what_is_no_parquet_file_is_refused(tmp_path: Path, bundle: Bundle, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "users.parquet").write_bytes(content)
    with pytest.raises(InputError, match=r"users.parquet: (no such file|cannot be read as Parquet)"):
        users_of(str(tmp_path / "users.parquet"), bundle.user_ids, no_one, 5)


def test_a_file_that_is_damaged_behind_its_footer_is_refused(tmp_path: Path, bundle: Bundle) -> None:
    path = tmp_path / "users.parquet"
    found = users(path, bundle, [f"{number:05}" for number in range(2_000)])
    content = bytearray(path.read_bytes())
    content[4 : len(content) // 2] = bytes(len(content) // 2 - 4)
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        found.digest(500)
