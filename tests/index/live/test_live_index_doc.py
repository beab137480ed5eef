"""The page about the live index is right: its example runs."""

import re
from pathlib import Path

from bundles import write_small_bundle

PAGE = (Path(__file__).parents[3] / "docs" / "live-index.md").read_text()
(EXAMPLE,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_example_finds_the_new_item_and_not_the_removed_one(tmp_path, capsys):
    path = write_small_bundle(tmp_path / "registry")
    exec(EXAMPLE, {"path": path, "folder": tmp_path / "delta"})
    said = capsys.readouterr().out
    assert said.startswith("['new-shoe', ")
    assert "'item-0'" not in said
