"""A reference to a picture becomes a URL that a page can use."""

from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.items.image_urls import image_urls

REFERENCES = st.text(min_size=1).filter(lambda text: text.encode("utf-8", "ignore").decode() == text)


@pytest.mark.parametrize(
    "url", ["https://cdn.example/1.jpg", "HTTP://a/b", "//cdn.example/1.jpg", "data:image/png;base64,AA"]
)
@pytest.mark.parametrize("setting", [None, "https://shop.example/p", "."])
def test_a_url_stays_as_it_is(url: str, setting: str | None) -> None:
    assert image_urls(setting)(url) == url


@pytest.mark.parametrize("reference", [None, "", "pictures/1.jpg"])
def test_without_the_setting_references_stay(reference: str | None) -> None:
    assert image_urls(None)(reference) == reference


@pytest.mark.parametrize("nothing", [None, ""])
def test_no_picture_stays_none(nothing: str | None) -> None:
    assert image_urls("https://shop.example/p")(nothing) == nothing


@pytest.mark.parametrize("prefix", ["https://shop.example/p", "https://shop.example/p/"])
def test_a_prefix_comes_before_the_name(prefix: str) -> None:
    assert image_urls(prefix)("red/1 2.jpg") == "https://shop.example/p/red/1%202.jpg"
    assert image_urls(prefix)("/red/1.jpg") == "https://shop.example/p/red/1.jpg"


def test_the_pictures_of_a_folder_are_served_here(tmp_path: Path) -> None:
    assert image_urls(str(tmp_path))("用.jpg") == "/images/%E7%94%A8.jpg"


@given(REFERENCES)
def test_no_reference_leads_to_another_host_or_script(reference: str) -> None:
    url = image_urls("https://shop.example/p")(reference)
    assert url is not None
    if url != reference:
        assert url.startswith("https://shop.example/p/")
        assert unquote(url) == f"https://shop.example/p/{reference.lstrip('/')}"
        assert not set(url) & set("?#\"'<> \\")
    else:
        assert "//" in reference or reference.startswith("data:")
