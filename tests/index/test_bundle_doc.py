"""The page about the bundle is right: its example runs, and it names every file."""

import re
from pathlib import Path

from bundles import write_small_bundle

from index.bundle import open_bundle
from index.gate_report import limits_table

PAGE = (Path(__file__).parents[2] / "docs" / "bundle.md").read_text()


def test_a_bundle_is_read_with_nothing_but_numpy(tmp_path, capsys):
    bundle = open_bundle(write_small_bundle(tmp_path))
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert set(re.findall(r"^import (\w+)", example, re.MULTILINE)) == {"json", "numpy"}
    names = {"path": bundle.path}
    exec(example, names)
    rows, _ = bundle.index().search(bundle.user_embeddings[0], 10, bundle.seen(0))
    assert names["titles"] == [bundle.item(row)["title"] for row in rows[0].tolist()]
    assert capsys.readouterr().out.startswith("user-0 ")


def test_every_file_of_a_bundle_is_on_the_page(tmp_path):
    for name in open_bundle(write_small_bundle(tmp_path)).manifest.files:
        folder = name.partition("/")[0]
        assert f"`{name}`" in PAGE or f"`{folder}/<" in PAGE or f"`{folder}/`" in PAGE, name


def test_every_limit_of_the_gate_is_on_the_page_as_the_code_has_it():
    assert limits_table() in PAGE
