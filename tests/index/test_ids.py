import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index import ids as ids_module
from index.errors import InputError
from index.ids import IdTable, PackedStrings

ODD_IDS = ["a b", "a/b", "../etc", "юзер", "🪑", "x" * 10_000, "\x00", "a", "A", "%2F", "a\n"]


def test_every_id_of_any_script_is_found_in_its_row():
    table = IdTable.build(ODD_IDS)
    assert [table[row] for row in range(len(table))] == ODD_IDS
    assert [table.row(outside_id) for outside_id in ODD_IDS] == list(range(len(ODD_IDS)))


def test_an_unknown_id_has_no_row():
    table = IdTable.build(ODD_IDS)
    assert table.row("nobody") is None
    assert table.row("") is None
    assert table.row("\ud800") is None  # a lone surrogate, which UTF-8 cannot hold


def test_many_ids_are_looked_up_at_once_with_minus_one_for_the_unknown():
    assert IdTable.build(["p", "q"]).rows(["q", "nobody", "p"]).tolist() == [1, -1, 0]


def test_ids_whose_hashes_collide_are_told_apart_by_the_string(monkeypatch):
    monkeypatch.setattr(ids_module, "_hash", lambda data: len(data) % 2)
    table = IdTable.build(["a", "b", "cc", "dd"])
    assert [table.row(outside_id) for outside_id in ("a", "b", "cc", "dd")] == [0, 1, 2, 3]
    assert table.row("e") is None


def test_a_repeated_id_is_refused_with_both_rows():
    with pytest.raises(InputError, match="user_id 'b' is in rows 1 and 3; expected it once"):
        IdTable.build(["a", "b", "c", "b"], "user_id")


@pytest.mark.parametrize("bad", ["", None, 7, "\ud800"])
def test_an_id_that_is_no_text_is_refused_with_its_row(bad):
    with pytest.raises(InputError, match="item_id of row 1"):
        IdTable.build(["a", bad], "item_id")


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1), unique=True))
def test_a_table_survives_being_stored(ids):
    table = IdTable.from_arrays(IdTable.build(ids).arrays())
    assert list(table) == ids
    assert table.rows(ids).tolist() == list(range(len(ids)))


@given(st.lists(st.binary()))
def test_packed_strings_come_back_as_they_were(strings):
    packed = PackedStrings.pack(strings)
    assert list(packed) == strings
    assert packed.blob.dtype == np.uint8


def test_a_row_out_of_range_is_an_index_error():
    packed = PackedStrings.pack([b"a"])
    for row in (-1, 1):
        with pytest.raises(IndexError):
            packed[row]


@given(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=8), st.integers(1, 3))
def test_a_repeated_id_is_found_whatever_other_ids_have_its_hash(ids, n_hashes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ids_module, "_hash", lambda data: data[0] % n_hashes)
        if len(set(ids)) == len(ids):
            assert [IdTable.build(ids).row(one) for one in ids] == list(range(len(ids)))
        else:
            with pytest.raises(InputError, match="expected it once"):
                IdTable.build(ids)


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_ids_encoded_in_several_steps_are_as_those_encoded_in_one(monkeypatch, n):
    whole = IdTable.build(ODD_IDS).arrays()
    monkeypatch.setattr(ids_module, "_AT_ONCE", n)
    for name, array in IdTable.build(ODD_IDS).arrays().items():
        assert np.array_equal(array, whole[name]), name


def test_rows_are_found_by_the_beginning_of_their_string() -> None:
    strings = PackedStrings.pack([b"ann", b"an", b"bob", b"", b"anna", b"a", b"ann"])
    assert strings.starting_with(b"ann", 0, 7).tolist() == [0, 4, 6]
    assert strings.starting_with(b"ann", 1, 6).tolist() == [4]
    assert strings.starting_with(b"", 0, 7).tolist() == list(range(7))
    assert strings.starting_with(b"annas", 0, 7).tolist() == []
