"""Pictures of a folder are served, and nothing else of the machine."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from servers import serving, wait_until

from service.http.image_files import type_of
from service.http.security.keys import new_key

JPEG, SECRET = b"\xff\xd8\xff\xe0" + b"j" * 200_000, b"root:x:0:0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shop = tmp_path_factory.mktemp("shop")
    (shop / "secret.jpg").write_bytes(b"\xff\xd8\xff" + SECRET)
    folder = shop / "pictures"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "7.jpg").write_bytes(JPEG)
    (folder / "用 a%2Fb.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / ".hidden.jpg").write_bytes(JPEG)
    (folder / ".git").mkdir()
    (folder / ".git" / "a.jpg").write_bytes(JPEG)
    (folder / "page.jpg").write_bytes(b"<html><script>alert(1)</script>")
    (folder / "drawing.svg").write_bytes(b"<svg xmlns='http://www.w3.org/2000/svg'/>")
    (folder / "empty.jpg").touch()
    (folder / "out.jpg").symlink_to(shop / "secret.jpg")
    (folder / "away").symlink_to(shop)
    (folder / "in.jpg").symlink_to("images/7.jpg")
    os.mkfifo(folder / "pipe.jpg")
    return folder


@pytest.fixture(scope="module")
def client(registry: Path, folder: Path) -> Iterator[httpx.Client]:
    with serving(registry=registry, images=str(folder)) as client:
        yield client


def test_the_pictures_of_all_lists_can_be_fetched_where_they_say(client: httpx.Client) -> None:
    for path in ("/popular?k=40", "/recommend/user-3?k=40&exclude_seen=false", "/similar/item-3?k=40"):
        images = [item["image"] for item in client.get(path).json()["items"]]
        assert {image for image in images if image} > {"/images/images/7.jpg"}
    assert client.get("/items/item-7").json()["item"]["image"] == "/images/images/7.jpg"
    response = client.get("/images/images/7.jpg")
    assert (response.status_code, response.content) == (200, JPEG)


def test_stored_items_are_told_with_the_url_of_their_picture(registry: Path, folder: Path, tmp_path: Path) -> None:
    with serving(registry=registry, images=str(folder), data=tmp_path) as client:
        assert client.put("/items/item-7", json={"title": "Lamp", "image": "in.jpg"}).status_code == 202
        assert client.get("/items/item-7").json()["item"]["image"] == "/images/in.jpg"

        def pictures(path: str) -> set[str | None]:
            return {item["image"] for item in client.get(path).json()["items"]}

        wait_until(lambda: "/images/in.jpg" in pictures("/popular?k=40"))
        assert {"/images/in.jpg", "/images/images/6.jpg"} <= pictures("/items?k=40")


def test_a_picture_comes_with_its_type_and_headers_that_no_page_misuses(client: httpx.Client) -> None:
    headers = client.get("/images/images%2F7.jpg").headers
    assert headers["content-type"] == "image/jpeg"
    assert headers["content-length"] == str(len(JPEG))
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert headers.get_list("cache-control") == ["max-age=3600"]


def test_an_unchanged_picture_is_not_sent_again(client: httpx.Client) -> None:
    first = client.get("/images/in.jpg").headers
    for condition in ({"if-none-match": first["etag"]}, {"if-modified-since": first["last-modified"]}):
        again = client.get("/images/in.jpg", headers=condition)
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first["etag"])
    assert client.get("/images/in.jpg", headers={"if-none-match": '"other"'}).status_code == 200


def test_head_has_the_headers_alone_and_ranges_are_not_heeded(client: httpx.Client) -> None:
    head = client.head("/images/images/7.jpg")
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(JPEG)))
    whole = client.get("/images/images/7.jpg", headers={"range": "bytes=0-3"})
    assert (whole.status_code, whole.content) == (200, JPEG)


def test_a_name_of_any_script_is_found_by_its_encoded_form(client: httpx.Client) -> None:
    assert client.get("/images/%E7%94%A8%20a%252Fb.png").headers["content-type"] == "image/png"


@pytest.mark.parametrize(
    "path",
    [
        *("nothing.jpg", "images", "images/", "empty.jpg", "page.jpg", "drawing.svg", "pipe.jpg"),
        *(".hidden.jpg", ".git/a.jpg", "%2Ehidden.jpg", "images/../.hidden.jpg"),
        *("out.jpg", "away/secret.jpg", "away%2Fsecret.jpg"),
        *("../secret.jpg", "..%2Fsecret.jpg", "%2E%2E/secret.jpg", "images/../../secret.jpg", "..%5Csecret.jpg"),
        *("/etc/passwd", "%2Fetc%2Fpasswd", "%00", "images%2F7.jpg%00", "%FF", "%ED%A0%80", "a/" * 200, "x" * 512),
    ],
)
def test_what_is_no_picture_of_the_folder_is_not_found(client: httpx.Client, path: str) -> None:
    status, body = raw(client, f"/images/{path}")
    assert status in (404, 422)
    assert SECRET not in body
    assert b'"error":' in body


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(["..", ".", "%2e", "%2F", "/", "\\", "%5c", "away", "secret.jpg", "images", "~", "%00"]),
        max_size=8,
    )
)
def test_no_path_leads_out_of_the_folder(client: httpx.Client, parts: list[str]) -> None:
    status, body = raw(client, "/images/" + "".join(parts))
    assert status in (404, 422), body
    assert SECRET not in body


def raw(client: httpx.Client, path: str) -> tuple[int, bytes]:
    """The status and body of a request whose path no client has normalised."""
    with socket.create_connection((client.base_url.host, client.base_url.port or 80)) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n".encode())
        received = b"".join(iter(lambda: connection.recv(65_536), b""))
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def test_without_a_folder_there_is_no_picture(registry: Path) -> None:
    with serving(registry=registry, images="https://cdn.example/p") as client:
        assert client.get("/images/images/7.jpg").status_code == 404
        images = {item["image"] for item in client.get("/popular?k=40").json()["items"]}
        assert images >= {None, "https://cdn.example/p/images/7.jpg"}


def test_where_keys_are_required_a_picture_needs_one(registry: Path, folder: Path, tmp_path: Path) -> None:
    key, line = new_key("shop", "read")
    (tmp_path / "keys.jsonl").write_text(line)
    with serving(registry=registry, images=str(folder), api_keys_file=tmp_path / "keys.jsonl") as client:
        assert client.get("/images/images/7.jpg").status_code == 401
        assert client.get("/images/images/7.jpg", headers={"X-API-Key": key}).status_code == 200


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"\xff\xd8\xff\xdb", "image/jpeg"),
        (b"\x89PNG\r\n\x1a\n\0", "image/png"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"\0\0\0\x20ftypavif", "image/avif"),
        (b"RIFF\0\0\0\0WAVEfmt ", None),
        (b"<svg", None),
        (b"", None),
    ],
)
def test_the_type_of_a_picture_is_that_of_its_content(head: bytes, expected: str | None) -> None:
    assert type_of(head) == expected
