"""Where the picture is that a stored item names."""

import pytest

from trainer.item_pictures import found_picture, is_picture_file, picture_reference


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pictures" / "lamps").mkdir(parents=True)
    for name in ("pictures/1.jpg", "pictures/lamps/2.jpg", "secret.jpg"):
        (tmp_path / name).touch()
    return tmp_path / "pictures"


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("", ""),
        ("1.jpg", "{folder}/1.jpg"),
        ("lamps/2.jpg", "{folder}/lamps/2.jpg"),
        ("{folder}/1.jpg", "{folder}/1.jpg"),
        ("gone.jpg", "gone.jpg"),
        ("../secret.jpg", "../secret.jpg"),
        ("lamps", "lamps"),
        ("https://shop.example/1.jpg", "https://shop.example/1.jpg"),
        ("old.jpg", "/data/old.jpg"),
        ("x" * 5_000, "x" * 5_000),
    ],
)
def test_a_picture_is_a_file_below_the_folder_or_that_of_before_or_only_a_name(folder, reference, expected):
    found = found_picture(reference.format(folder=folder), "/data/old.jpg", folder)
    assert found == expected.format(folder=folder)
    assert is_picture_file(found) == found.startswith(str(folder))


def test_without_a_folder_only_absolute_paths_are_found(folder):
    assert found_picture("1.jpg", "", None) == "1.jpg"
    assert found_picture(str(folder / "1.jpg"), "", None) == str(folder / "1.jpg")


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("", None),
        ("/data/1.jpg", "1.jpg"),
        ("lamps/1.jpg", "lamps/1.jpg"),
        ("https://shop.example/a/1.jpg", "https://shop.example/a/1.jpg"),
    ],
)
def test_a_bundle_names_a_picture_without_folders_of_this_machine(image, expected):
    assert picture_reference(image) == expected
