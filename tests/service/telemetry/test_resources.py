import math
import mmap
import tempfile
from pathlib import Path

import pytest

from service.telemetry.resources import anonymous_bytes, free_share, memory_limit_bytes

MB = 1_000_000


def test_memory_of_its_own_counts_and_what_is_mapped_from_a_file_does_not() -> None:
    before = anonymous_bytes()
    own = bytearray(b"x" * 64 * MB)
    assert anonymous_bytes() - before == pytest.approx(len(own), abs=8 * MB)
    with tempfile.TemporaryFile() as file:
        file.write(own)
        file.flush()
        held = anonymous_bytes()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            assert mapped[:: mmap.PAGESIZE].count(b"x") == math.ceil(len(own) / mmap.PAGESIZE)  # every page was read
            assert anonymous_bytes() - held < 8 * MB


def test_the_limit_is_the_containers_where_it_has_one_and_else_the_machines(tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    machine = memory_limit_bytes(limit)
    assert machine > 64 * MB
    for written, expected in (("max\n", machine), (f"{64 * MB}\n", 64 * MB), (f"{10 * machine:.0f}\n", machine)):
        limit.write_text(written)
        assert memory_limit_bytes(limit) == expected


def test_what_cannot_be_known_is_not_a_number_and_no_failed_scrape(tmp_path: Path) -> None:
    assert 0 < free_share(tmp_path) < 1
    assert math.isnan(free_share(tmp_path / "gone"))
    assert math.isnan(anonymous_bytes(tmp_path / "gone"))
