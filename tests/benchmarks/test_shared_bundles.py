import asyncio
from pathlib import Path

from bundles import write_retrained_bundle, write_small_bundle

from benchmarks.shared_bundles import _loaded
from service.settings import Settings


def test_the_second_of_two_loaded_bundles_shares_with_the_first_and_memory_is_read(tmp_path: Path) -> None:
    settings = Settings(registry=tmp_path / "registry", data=tmp_path / "data", gpu="off")
    write_small_bundle(tmp_path / "registry", n_users=500, n_items=500)
    write_retrained_bundle(tmp_path / "registry", after_seconds=1, n_users=500, n_items=500)
    found = asyncio.run(_loaded("two_shared", settings))
    assert [one["shared_mb"] > 0 for one in found["bundles"]] == [False, True]
    assert found["rss_mb"] > found["anonymous_mb"] > 0
