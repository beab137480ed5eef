"""What `python -m index inspect` says of a bundle's bytes adds up to what is on disk."""

from io import StringIO

import pytest
from bundles import MADE_AT, make_living_content, make_map, write_small_bundle
from rich.console import Console

from index.bundle import open_bundle, write_bundle
from index.sizes_table import sizes_by_kind, sizes_table


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_every_byte_of_a_bundle_is_counted_once(tmp_path, precision):
    content = make_living_content(map=make_map())
    bundle = open_bundle(write_bundle(tmp_path, content, created_at=MADE_AT, precision=precision))
    on_disk = sum((bundle.path / name).stat().st_size for name in bundle.manifest.files)
    assert sum(one.n_bytes for one in sizes_by_kind(bundle.path, bundle.manifest)) == on_disk


def test_parts_of_int8_take_a_byte_a_dimension_and_a_scale_an_item(tmp_path):
    bundle = open_bundle(write_small_bundle(tmp_path, precision="int8"))
    parts = next(one for one in sizes_by_kind(bundle.path, bundle.manifest) if one.kind == "parts")
    headers = 128 * 2 * 5 / 40  # of two files for each of five parts, spread over 40 items
    assert parts.bytes_a_row == 5 * (8 + 4) + headers


def test_the_table_shows_bytes_by_item_or_by_user(tmp_path):
    bundle = open_bundle(write_small_bundle(tmp_path))
    console = Console(width=120, record=True, quiet=False, file=StringIO())
    console.print(sizes_table(bundle.path, bundle.manifest))
    (line,) = [line for line in console.export_text().splitlines() if "user vectors" in line]
    assert [cell.strip() for cell in line.split("│")[1:5]] == ["user vectors", "1,088", "", "36.3"]
