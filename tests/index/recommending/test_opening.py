"""What a bundle is opened by, and what is said of a question that it cannot answer."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bundles import make_content, write_small_bundle

from index import BundleError, InputError, open_bundle
from index.bundle import Bundle
from index.registry import Registry


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("registry")
    Registry(folder).publish(write_small_bundle(folder).name)
    write_small_bundle(folder, after_seconds=60, seed=1)  # newer, and not published
    return folder


def test_a_registry_opens_its_published_bundle(registry: Path) -> None:
    opened = open_bundle(registry)
    assert opened.bundle_id == Registry(registry).current_id()
    assert open_bundle(str(opened.path)).bundle_id == opened.bundle_id
    assert open_bundle(f"file://{registry}").bundle_id == opened.bundle_id
    assert isinstance(opened, Bundle)


def test_it_says_what_is_missing_where_there_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere is no folder; expected that of a bundle, or of a registry"):
        open_bundle(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no bundle; expected a bundle's folder, or a registry"):
        open_bundle(tmp_path)
    name = write_small_bundle(tmp_path).name
    with pytest.raises(InputError, match=f"no published bundle; publish its newest: python -m index publish .*{name}$"):
        open_bundle(tmp_path)
    with pytest.raises(InputError, match="20260101T120000Z-other-00000000"):
        open_bundle(tmp_path / "20260101T120000Z-other-00000000")


def test_a_damaged_bundle_is_refused(tmp_path: Path) -> None:
    path = write_small_bundle(tmp_path)
    (path / "fold_in.npy").write_bytes(b"nonsense")
    with pytest.raises(BundleError):
        open_bundle(path)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (lambda bundle: bundle.recommend(["item-1"]), r"user_id is \['item-1'\]; expected text: .*items=\[...\]"),
        (lambda bundle: bundle.recommend(items="item-1"), r"items is 'item-1'; expected item ids, .*\['item-0'\]"),
        (lambda bundle: bundle.recommend("user-1", k=0), "k is 0; expected a whole number from 1 on"),
        (lambda bundle: bundle.recommend("user-1", k=2.5), "k is 2.5; expected a whole number"),
        (lambda bundle: bundle.recommend("user-1", past_items=-1), "past_items is -1; expected a whole number from 0"),
        (lambda bundle: bundle.explain("user-1", "x"), "no item 'x'; expected one of its 40: 'item-0', 'item-1'"),
        (lambda bundle: bundle.similar("item-1", by="taste"), "by is 'taste'; expected one of .*: fused, image"),
    ],
)
def test_a_question_without_an_answer_says_what_was_expected(registry: Path, asked: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        asked(open_bundle(registry))


def test_it_says_why_a_list_is_the_popular_items(registry: Path) -> None:
    bundle = open_bundle(registry)
    assert "does not know user 'a stranger'" in bundle.recommend("a stranger").note
    assert "does not know the items given" in bundle.recommend(items=["nonsense"]).note
    assert bundle.recommend(items=["nonsense"]).unknown_items == ("nonsense",)
    assert "neither a user nor items" in bundle.recommend().note
    assert bundle.recommend("user-1").note == ""


def test_an_item_without_features_has_no_neighbours_by_them(tmp_path: Path) -> None:
    def without_text(content: Any) -> dict[str, Any]:
        rows = content.neighbours["text"].copy()
        rows[3] = 0
        return {"text": rows}

    bundle = open_bundle(write_small_bundle(tmp_path, neighbours=without_text(make_content())))
    with pytest.raises(InputError, match="item 'item-3' has no vector in the space 'text'"):
        bundle.similar("item-3", by="text")
    assert "item-3" not in {one.item_id for one in bundle.similar("item-4", 39, by="text")}


def test_a_seen_item_is_ranked_among_those_that_the_user_has_not_had(registry: Path) -> None:
    bundle = open_bundle(registry)
    row = bundle.user_ids.row("user-3")
    assert row is not None
    seen = bundle.item_ids[int(bundle.seen(row)[0])]
    unseen = bundle.recommend("user-3", k=40)
    one = bundle.explain("user-3", seen)
    assert one.rank == 1 + sum(item.score > one.score for item in unseen)


def test_answers_read_well(registry: Path) -> None:
    bundle = open_bundle(registry)
    found = bundle.recommend("user-3", k=2)
    first = found[0]
    assert repr(first) == (
        f"RecommendedItem(rank=1, item_id={first.item_id!r}, title={first.title!r}, score={first.score:.4g}, "
        f"why={first.why!r})"
    )
    assert repr(found).splitlines()[:2] == [
        "2 items for a user",
        f"  1. {first.title} ({first.item_id}) {first.score:.4g}  {first.why}",
    ]
    assert repr(bundle.similar(first.item_id, 1)[0]).startswith("SimilarItem(rank=1, item_id='item-")
    assert repr(bundle) == (
        f"<bundle {bundle.bundle_id}: 30 users, 40 items, 8 dimensions; parts id, text, image, multimodal, anchor; "
        "by fused, image, multimodal, text, id>"
    )


def test_asking_a_bundle_loads_neither_torch_nor_a_web_framework(registry: Path) -> None:
    code = (
        f"import sys; from index import open_bundle; print(open_bundle({str(registry)!r}).recommend('user-1')[0].rank, "
        "{'torch', 'fastapi', 'orjson', 'pyarrow', 'scipy'} & sys.modules.keys())"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1 set()\n"
    )
