import hashlib
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.errors import InputError
from service.http.security.keys import digest_of, new_key, read_keys
from service.http.security.rate_limit import Rate


def line(name: str = "shop", role: str = "read", hash_of: str = "a", **more: object) -> str:
    sha = "sha256:" + hashlib.sha256(hash_of.encode()).hexdigest()
    return orjson.dumps({"name": name, "role": role, "hash": sha, **more}).decode()


def test_a_new_key_is_found_by_its_line_and_the_line_does_not_hold_the_key() -> None:
    key, text = new_key("shop", "write")
    (made,) = read_keys(text).values()
    assert made.digest == digest_of(key.encode())
    assert (made.principal.name, made.principal.role, made.expires) == ("shop", "write", None)
    assert key not in text
    assert key.removeprefix("reco_") not in text


def test_no_two_keys_are_alike_and_each_has_256_bits() -> None:
    keys = {new_key("shop", "read")[0] for _ in range(100)}
    assert len(keys) == 100
    assert all(len(key) == len("reco_") + 43 for key in keys)  # 32 bytes in base64


def test_the_hash_is_what_sha256sum_prints() -> None:
    (key,) = read_keys(line(hash_of="reco_x"))
    assert key == hashlib.sha256(b"reco_x").digest()


def test_comments_and_empty_lines_are_passed_over() -> None:
    assert len(read_keys(f"# ours\n\n{line()}\n   \n  # theirs\n{line(name='b', hash_of='b')}\n")) == 2


def test_two_keys_of_one_name_overlap_while_one_replaces_the_other() -> None:
    old, new = line(expires="2026-12-01T00:00:00Z"), line(hash_of="b")
    keys = read_keys(f"{old}\n{new}")
    assert {key.principal.name for key in keys.values()} == {"shop"}
    assert {key.expires for key in keys.values()} == {datetime(2026, 12, 1, tzinfo=UTC).timestamp(), None}


def test_a_key_may_have_a_rate_of_its_own() -> None:
    (key,) = read_keys(line(rate_limit_per_s=2.5)).values()
    assert key.rate == Rate(2.5, 3)
    (key,) = read_keys(line(rate_limit_per_s=2.5, rate_limit_burst=50)).values()
    assert key.rate == Rate(2.5, 50)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no key"),
        ("# nothing\n", "has no key"),
        ("reco_secret", "line 1: is no JSON; expected one JSON object"),
        ('"reco_secret"', "line 1: "),
        (f"{line()}\n{line()}", "line 2: a line above has this hash already"),
        (f"{line()}\n{line(role='admin', hash_of='b')}", "line 2: 'shop' has a different role or rate"),
        (f"{line()}\n{line(hash_of='b', rate_limit_per_s=1)}", "line 2: 'shop' has a different role or rate"),
        (line(role="root"), "line 1: role: .*'read', 'write' or 'admin'"),
        (line(name="a b"), "line 1: name: .*pattern"),
        (line(key="reco_secret"), "line 1: key is no known field"),
        (line().replace("sha256:", "md5:"), "line 1: hash: .*pattern"),
        (line(expires="2026-12-01T00:00:00"), "line 1: expires: .*timezone"),
        (line(rate_limit_per_s=0), "line 1: rate_limit_per_s: .*greater than 0"),
        (line(rate_limit_burst=5), "line 1: .*needs rate_limit_per_s"),
    ],
)
def test_a_wrong_file_is_refused_by_line_and_nothing_of_it_is_repeated(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        read_keys(text)
    assert "secret" not in str(caught.value)


@given(st.text())
def test_whatever_stands_in_the_file_it_is_read_or_refused(text: str) -> None:
    try:
        read_keys(text)
    except InputError as error:
        assert str(error)  # noqa: PT017 - either outcome is right


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "a\nb", "ä"])
def test_a_key_of_an_odd_name_is_not_made(name: str) -> None:
    with pytest.raises(InputError, match="name: "):
        new_key(name, "read")
