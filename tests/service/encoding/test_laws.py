"""Whatever an item calls its picture, nothing outside the folder is read and no host is asked that is not listed."""

import asyncio

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.encoding.fetching import PictureFetcher
from service.encoding.picture_error import PictureError
from service.encoding.pictures import read_below

PIECES = [
    "..",
    ".",
    "/",
    "//",
    "\\",
    "images",
    "secret",
    "a.png",
    "\0",
    "%2e%2e",
    "~",
    "link",
    " ",
    "\u202e",
    "a" * 300,
]
SCHEMES = ["https://", "http://", "file://", "data:", "//", "gopher://", "HTTPS://", "https:", ""]
HOSTS = [
    "127.0.0.1",
    "[::1]",
    "localhost",
    "a@b",
    "0x7f.1",
    "\u2488.example.com",
    ":99999",
    "x" * 300,
    "*",
    "\ud7ff",
    "",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    (root / "images").mkdir()
    (root / "secret").write_bytes(b"secret")
    (root / "images" / "a.png").write_bytes(b"picture")
    (root / "images" / "link").symlink_to(root)
    return root / "images"


@given(st.lists(st.sampled_from(PIECES), max_size=8).map("".join) | st.text(max_size=40))
@example("link/secret")
@example("link/images/a.png")
def test_only_files_below_the_folder_are_read(folder, name):
    try:
        content = read_below(folder, name, 1_000)
    except PictureError:
        return
    assert content == b"picture"


@given(st.tuples(*(st.sampled_from(some) for some in (SCHEMES, HOSTS, PIECES))).map("".join) | st.text(max_size=40))
def test_without_listed_hosts_every_url_is_refused_in_words(url):
    async def fetch():
        with pytest.raises(PictureError):
            await PictureFetcher([], max_bytes=10, timeout_s=1).fetch(url)

    asyncio.run(fetch())
