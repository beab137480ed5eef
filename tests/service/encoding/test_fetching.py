"""Pictures at URLs, fetched from real servers on loopback: which of them are fetched, and what the limits are."""

import asyncio
import socket
from ipaddress import ip_address

import pytest
from picture_hosts import picture_host

from service.encoding import fetching
from service.encoding.addresses import checked_address, is_public
from service.encoding.fetching import PictureFetcher
from service.encoding.picture_error import PictureError
from service.image_hosts import ImageHost, parse_host


@pytest.fixture(scope="module")
def server():
    with picture_host() as host:
        host.files["/a.png"] = b"a picture"
        host.files["/large"] = b"x" * 1_001
        yield host


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch):
    monkeypatch.setattr(fetching, "FIRST_BACKOFF_S", 0.0)


def fetch(url, *hosts, max_bytes=1_000, timeout_s=5.0, again=()):
    async def main():
        fetcher = PictureFetcher([parse_host(one) for one in hosts], max_bytes=max_bytes, timeout_s=timeout_s)
        try:
            return [await fetcher.fetch(one) for one in (url, *again)]
        finally:
            await fetcher.close()

    return asyncio.run(main())


def refused(url, *hosts, **limits):
    with pytest.raises(PictureError) as error:
        fetch(url, *hosts, **limits)
    return str(error.value)


def test_a_picture_is_fetched_from_a_listed_host_and_its_name_is_sent(server):
    assert fetch(f"{server.url}/a.png", server.url) == [b"a picture"]
    assert fetch(f"http://localhost:{server.port}/a.png", f"http://localhost:{server.port}") == [b"a picture"]
    assert server.hosts[-2:] == [f"127.0.0.1:{server.port}", f"localhost:{server.port}"]


def test_no_host_is_listed_by_default_and_the_setting_is_named(server):
    before = len(server.asked)
    assert "RECO_IMAGE_HOSTS" in refused(f"{server.url}/a.png")
    assert len(server.asked) == before


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/a.png",  # listed as https
        "https://127.0.0.1/a.png",  # another port
        "https://127.0.0.1:{port}@elsewhere/a.png",
        "https://cdn.example.com.elsewhere.org/a.png",
        "https://elsewhere.org/cdn.example.com",
        "file:///etc/passwd",
        "ftp://cdn.example.com/a.png",
        "gopher://cdn.example.com/a.png",
        "http://cdn.example.com/a.png",
        "https://cdn.example.com:8443/a.png",
        "https://user:word@cdn.example.com/a.png",
        "https://[::ffff:127.0.0.1]:{port}/a.png",
        "https://2130706433:{port}/a.png",
        "https://0x7f.1:{port}/a.png",
        "https://cdn.example.com\\@elsewhere/a.png",
        "https:///a.png",
        "https://",
        "://",
        "https://[::1/a.png",
    ],
)
def test_only_the_listed_scheme_host_and_port_are_asked(server, url):
    before = len(server.asked)
    refused(url.replace("{port}", str(server.port)), f"https://127.0.0.1:{server.port}", "cdn.example.com")
    assert len(server.asked) == before


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "255.255.255.255", "::1", "::", "fe80::1", "fd00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
        "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:a00:1::",
    ],
)  # fmt: skip
def test_a_host_with_a_private_address_needs_its_port_in_the_list(monkeypatch, address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    public = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", 443))
    found = [public, (family, socket.SOCK_STREAM, 6, "", (address, 443))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    host = ImageHost("https", "cdn.example.com", 443)
    with pytest.raises(PictureError, match=r"is not public; .* RECO_IMAGE_HOSTS=https://cdn.example.com:443"):
        asyncio.run(checked_address(host))
    assert asyncio.run(checked_address(host._replace(may_be_private=True))) == "93.184.216.34"


def test_public_addresses_are_public():
    assert all(is_public(ip_address(one)) for one in ("93.184.216.34", "2606:2800:220:1::1", "64:ff9b::5db8:d822"))


def test_the_address_that_was_checked_is_the_one_that_is_asked(server, monkeypatch):
    """A name that has another address at the second look-up reaches no second host."""
    look_ups = []
    found = socket.getaddrinfo

    def rebinding(host, port, *arguments, **options):
        look_ups.append(host)
        address = "127.0.0.1" if len(look_ups) == 1 else "127.0.0.2"
        return found(address, port, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    assert fetch(f"http://shop.test:{server.port}/a.png", f"http://shop.test:{server.port}") == [b"a picture"]
    assert look_ups[0] == "shop.test"
    assert set(look_ups[1:]) <= {"127.0.0.1"}


def test_redirects_are_followed_within_the_list_only(server):
    with picture_host() as other:
        other.files["/b.png"] = b"another picture"
        server.redirects |= {"/there": f"{other.url}/b.png", "/here": "/a.png", "/round": "/round"}
        server.redirects["/passwd"] = "file:///etc/passwd"
        assert fetch(f"{server.url}/here", server.url) == [b"a picture"]
        assert fetch(f"{server.url}/there", server.url, other.url) == [b"another picture"]
        other.asked.clear()
        assert "it redirects to" in refused(f"{server.url}/there", server.url)
        assert "it redirects to file" in refused(f"{server.url}/passwd", server.url)
        assert "redirects more than 3 times" in refused(f"{server.url}/round", server.url)
        assert other.asked == []


def test_what_is_too_large_is_not_read_whole(server):
    assert fetch(f"{server.url}/large", server.url, max_bytes=1_001) == [b"x" * 1_001]
    assert "more than 1,000 bytes (RECO_IMAGE_MAX_BYTES)" in refused(f"{server.url}/large", server.url)
    assert "more than 1,000 bytes (RECO_IMAGE_MAX_BYTES)" in refused(f"{server.url}/endless", server.url)
    assert "compressed" in refused(f"{server.url}/packed", server.url)


def test_what_is_too_slow_is_given_up(server):
    told = refused(f"{server.url}/slow", server.url, timeout_s=0.3)
    assert told == "127.0.0.1 took longer than 0.3 s (RECO_IMAGE_TIMEOUT_S)"


def test_a_server_that_fails_twice_is_asked_three_times_and_one_that_refuses_once(server):
    server.files["/twice"] = b"at last"
    server.failures["/twice"] = [503, 500]
    assert fetch(f"{server.url}/twice", server.url) == [b"at last"]
    assert server.asked.count("/twice") == 3
    assert refused(f"{server.url}/missing", server.url) == "127.0.0.1 responded 404"
    assert server.asked.count("/missing") == 1


def test_a_host_that_does_not_respond_is_not_asked_again_at_once():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        host = f"http://127.0.0.1:{closed.getsockname()[1]}"

    async def main():
        fetcher = PictureFetcher([parse_host(host)], max_bytes=10, timeout_s=5)
        told = []
        for _ in range(2):
            with pytest.raises(PictureError) as error:
                await fetcher.fetch(f"{host}/a.png")
            assert error.value.may_pass
            told.append(str(error.value))
        await fetcher.close()
        return told

    first, second = asyncio.run(main())
    assert first.startswith("127.0.0.1 cannot be reached")
    assert second == f"{first} (a moment ago)"


@pytest.mark.parametrize(
    ("entry", "host"),
    [
        ("cdn.example.com", ImageHost("https", "cdn.example.com", 443)),
        ("CDN.example.com", ImageHost("https", "cdn.example.com", 443)),
        ("http://cdn.example.com", ImageHost("http", "cdn.example.com", 80)),
        ("https://cdn.example.com:443", ImageHost("https", "cdn.example.com", 443, True)),
        ("10.0.0.5:8080", ImageHost("https", "10.0.0.5", 8080, True)),
        ("[::1]:8443", ImageHost("https", "[::1]", 8443, True)),
    ],
)
def test_entries_of_the_list_are_hosts(entry, host):
    found = parse_host(entry)
    assert found._replace(host=found.host.strip("[]")) == host._replace(host=host.host.strip("[]"))


@pytest.mark.parametrize("entry", ["*", "*.example.com", "https://a/b", "ftp://a", "u:p@a", "https://", "a?b", "a#b"])
def test_what_is_no_host_is_refused(entry):
    with pytest.raises(ValueError, match="expected hosts such as"):
        parse_host(entry)
