import gzip
import json

import numpy as np
import pytest

from index.errors import InputError
from trainer.data import Recipe, load_dataset
from trainer.datasets.amazon import IMAGE_WIDTH, RECORDS_AT_ONCE, read
from trainer.prepare import prepare_dataset

USERS = [f"A{n}" for n in range(6)]
ASINS = [f"B00000000{n}" for n in range(6)]
RECIPE = Recipe(k_core=5, cold_items="drop", seed=1)


def review(user, asin, time=1_400_000_000, rating=5.0):
    return {"reviewerID": user, "asin": asin, "overall": rating, "unixReviewTime": time, "helpful": [0, 0]}


def write_reviews(file, reviews):
    with gzip.open(file, "wt") as lines:
        lines.writelines(json.dumps(record) + "\n" for record in reviews)
    return file


def write_images(file, vectors):
    file.write_bytes(b"".join(asin.encode() + np.full(IMAGE_WIDTH, value, "<f4").tobytes() for asin, value in vectors))
    return file


@pytest.fixture
def reviews(tmp_path):
    """Six users by six items, and what the papers drop: a missing rating, a repeat, a user outside the 5-core."""
    core = [review(user, asin, 1_400_000_000 + row) for row, user in enumerate(reversed(USERS)) for asin in ASINS]
    dropped = [review("A0", ASINS[0], rating=None), review("A5", ASINS[0]), review("lone", ASINS[0])]
    return write_reviews(tmp_path / "reviews_Toys.json.gz", core + dropped)


@pytest.fixture
def metadata(tmp_path):
    """Python literals, not JSON; ASINS[4] and ASINS[5] are not described, and two lines are broken."""
    lines = [
        repr({"asin": ASINS[0], "title": "Owl's nest", "brand": "Ono", "price": 9.5, "imUrl": "http://pictures/0.jpg"}),
        "{'asin': 'B000000001', 'title': ",
        repr(
            {
                "asin": ASINS[1],
                "categories": [["Toys", "Owls"], ["Gifts"]],
                "description": 'A "soft" owl',
                "title": "Owl",
            }
        ),
        "['not a record']",
        repr({"asin": "OTHER00000", "title": "never reviewed"}),
        *(repr({"asin": asin}) for asin in ASINS[2:4]),
        repr({"asin": ASINS[0], "title": "a second time"}),
    ]
    file = tmp_path / "meta_Toys.json.gz"
    file.write_bytes(gzip.compress("\n".join(lines).encode()))
    return file


def test_rows_are_dropped_as_the_papers_drop_them_and_numbered_by_first_appearance(reviews, tmp_path):
    info = prepare_dataset(read(reviews), tmp_path / "out", RECIPE)
    assert info.name == "reviews_Toys"
    assert info.counts["interactions_read"] == 39
    assert info.counts["dropped_with_a_missing_value"] == 1
    assert info.counts["dropped_repeats_of_a_user_item_and_time"] == 1
    assert info.counts["dropped_outside_the_k_core"] == 1
    data = load_dataset(tmp_path / "out")
    assert (data.user_ids, data.item_ids) == (USERS[::-1], ASINS)
    assert [len(data.split(name)) for name in ("train", "valid", "test")] == [24, 6, 6]


def test_a_pair_reviewed_twice_at_different_times_is_kept_twice_and_counted(tmp_path):
    core = [review(user, asin) for user in USERS for asin in ASINS]
    file = write_reviews(tmp_path / "reviews_Toys.json.gz", [*core, review("A0", ASINS[0], time=5)])
    info = prepare_dataset(read(file), tmp_path / "out", RECIPE)
    assert info.n_interactions == 37
    assert info.counts["repeated_user_item_pairs_kept"] == 1


def test_ratings_without_a_header_say_the_same_as_reviews(reviews, tmp_path):
    rows = [json.loads(line) for line in gzip.decompress(reviews.read_bytes()).splitlines()]
    keys = ("reviewerID", "asin", "overall", "unixReviewTime")
    text = "\n".join(",".join("" if row[key] is None else str(row[key]) for key in keys) for row in rows)
    (tmp_path / "ratings_Toys.csv").write_text(text)
    from_ratings, from_reviews = read(tmp_path / "ratings_Toys.csv"), read(reviews)
    assert from_ratings.interactions.equals(from_reviews.interactions)
    assert from_ratings.counts == from_reviews.counts


def test_metadata_becomes_text_in_the_papers_order_and_bad_lines_are_named(reviews, metadata):
    source = read(reviews, metadata=metadata)
    described = {row["item_id"]: row for row in source.items.to_dicts()}
    assert list(described) == ASINS[:4]
    assert described[ASINS[0]]["text"] == "Owl's nest Ono"
    assert json.loads(described[ASINS[0]]["attributes"]) == {
        "brand": "Ono",
        "price": 9.5,
        "image_url": "http://pictures/0.jpg",
    }
    assert described[ASINS[1]]["text"] == 'Owl Toys Owls Gifts A "soft" owl'
    assert described[ASINS[1]]["category"] == "Toys > Owls"
    assert json.loads(described[ASINS[1]]["attributes"])["categories"] == ["Toys", "Owls", "Gifts"]
    types = {"brand": "string", "price": "number", "image_url": "string", "categories": "list"}
    assert source.attribute_types == types
    assert described[ASINS[2]]["text"] == ""
    assert source.counts["bad_metadata_lines"] == source.counts["items_without_metadata"] == 2
    assert source.notes == ("meta_Toys.json.gz: lines that are no Python literal with an asin were left out: 2, 4",)


def test_image_records_find_their_items_and_the_others_get_the_mean(reviews, metadata, tmp_path):
    unrelated = [(f"X{n:09}", 9.0) for n in range(RECORDS_AT_ONCE)]  # so that there is more than one block
    images = write_images(tmp_path / "image_features_Toys.b", [(ASINS[5], 6.0), *unrelated, (ASINS[0], 2.0)])
    source = read(reviews, metadata=metadata, image_features=images)
    assert source.items["item_id"].to_list() == [*ASINS[:4], ASINS[5]]  # a picture alone is enough to be known
    info = prepare_dataset(source, tmp_path / "out", RECIPE)
    data = load_dataset(tmp_path / "out")
    assert data.features["image"].shape == (6, IMAGE_WIDTH)
    assert data.features["image"][:, 0].tolist() == [2, 4, 4, 4, 4, 6]
    assert info.counts["items_with_the_mean_image_vector"] == 4
    assert info.counts["items_missing_in_the_item_table"] == 1


def test_items_of_which_nothing_is_known_can_be_dropped(reviews, metadata, tmp_path):
    recipe = Recipe(k_core=4, unknown_items="drop", cold_items="drop")
    info = prepare_dataset(read(reviews, metadata=metadata, k=4), tmp_path / "out", recipe)
    assert info.n_items == 4
    assert info.counts["dropped_of_items_missing_in_the_item_table"] == 12


def test_nan_in_image_records_is_refused(reviews, tmp_path):
    images = write_images(tmp_path / "images.b", [(ASINS[3], float("nan"))])
    with pytest.raises(InputError, match=f"NaN or infinite values in 1 of 6 rows; first items: {ASINS[3]}"):
        prepare_dataset(read(reviews, image_features=images), tmp_path / "out", RECIPE)


@pytest.mark.parametrize("size", [0, 10, 10 + 4 * IMAGE_WIDTH + 1])
def test_an_image_file_that_is_cut_short_is_refused(reviews, tmp_path, size):
    (tmp_path / "images.b").write_bytes(b"B" * size)
    with pytest.raises(InputError, match="expected records of 16,394 bytes"):
        read(reviews, image_features=tmp_path / "images.b")


def test_metadata_that_is_cut_short_is_refused(reviews, metadata):
    metadata.write_bytes(metadata.read_bytes()[:-20])
    with pytest.raises(InputError, match="cut short or not gzipped"):
        read(reviews, metadata=metadata)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("ratings.csv", "user,item,rating,timestamp\nA0,B0,5.0,1\n"),
        ("ratings.csv", "A0,B0\n"),
        ("reviews.json", "{'reviewerID': 'A0'}\n"),
        ("reviews.json", '{"reviewerID": "A0", "asin": "B0", "overall": "good"}\n'),
    ],
)
def test_interactions_of_another_form_are_refused_with_what_was_expected(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=r"expected reviews .* or ratings"):
        read(tmp_path / name)


def test_files_that_are_not_there_are_named(reviews, tmp_path):
    gone = tmp_path / "gone.json.gz"
    for options in ({"metadata": gone}, {"image_features": gone}):
        with pytest.raises(InputError, match=r"no such file: .*gone"):
            read(reviews, **options)
    with pytest.raises(InputError, match=r"no such file: .*gone"):
        read(gone)


def test_metadata_and_images_of_other_items_are_refused(reviews, tmp_path):
    (tmp_path / "meta.json").write_text(repr({"asin": "OTHER00000"}) + "\n")
    images = write_images(tmp_path / "images.b", [("OTHER00000", 1)])
    for name, options in (
        ("meta.json", {"metadata": tmp_path / "meta.json"}),
        ("images.b", {"image_features": images}),
    ):
        with pytest.raises(InputError, match=f"{name} has none of the 6 items of the interactions, first 'B00000000"):
            read(reviews, **options)
