import random
import string
from contextlib import suppress

import pytest

from service.redis_url import CLUSTER, SENTINEL, SINGLE, UNIX, RedisUrl, parse_redis_url

SECRET = "S3cr3t"


@pytest.mark.parametrize(
    ("url", "kind", "hosts", "path", "options"),
    [
        ("redis://h", SINGLE, [("h", 6379)], "", {}),
        ("REDISS://ann:p%40s%2Fs@h:1/2", SINGLE, [("h", 1)], "", {"username": "ann", "password": "p@s/s", "db": 2}),
        ("redis://:p:w+%20%25@[::1]:7/", SINGLE, [("::1", 7)], "", {"password": "p:w+ %"}),
        ("redis://ann:@10.0.0.1?db=3", SINGLE, [("10.0.0.1", 6379)], "", {"username": "ann", "password": "", "db": 3}),
        ("redis://h?db=0&client_name=a%26b", SINGLE, [("h", 6379)], "", {"db": 0, "client_name": "a&b"}),
        ("redis://h?socket_timeout=1.5", SINGLE, [("h", 6379)], "", {"socket_timeout": 1.5}),
        ("unix:///run/a%20b.sock?db=1", UNIX, [], "/run/a b.sock", {"db": 1}),
        ("unix://:pw@/run/sock", UNIX, [], "/run/sock", {"password": "pw"}),
        ("redis+sentinel://:d@a,b:5/shop/3", SENTINEL, [("a", 26379), ("b", 5)], "shop", {"password": "d", "db": 3}),
        ("redis+cluster://a:7,[::2]", CLUSTER, [("a", 7), ("::2", 6379)], "", {}),
        ("rediss+cluster://a?ssl_cert_reqs=none", CLUSTER, [("a", 6379)], "", {"ssl_cert_reqs": "none"}),
    ],
)  # fmt: skip
def test_a_url_says_where_redis_is_and_how_to_talk_to_it(
    url: str, kind: str, hosts: list[tuple[str, int]], path: str, options: dict[str, object]
) -> None:
    found = parse_redis_url(url)
    assert (found.kind, list(found.hosts), found.path, dict(found.options)) == (kind, hosts, path, options)
    assert found.tls == url.lower().startswith("rediss")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"redis://:{SECRET}#tail@h/0", "percent-encode the user and the password"),
        (f"redis://:tail/{SECRET}@h/0", "/ is %2F"),
        (f"redis://:tail?{SECRET}@h/0", r"\? is %3F"),
        (f"redis://:{SECRET}@tail@h/0", "@ is %40"),
        (f"redis://:100%{SECRET}@h/0", "% is %25"),
        (f"redis://:%FF{SECRET}@h", "not UTF-8"),
        (f"redis://:{SECRET} @h", "a space, a line break"),
        (f"redis://:{SECRET}@h\n", "a space, a line break"),
        (f"redis://{SECRET}@h", "expected :password@ or user:password@"),
        (f"redis://:{SECRET}", "at least one host"),
        (f"redis://h:{SECRET}", "a port from 1 to 65535"),
        (f"redis://{SECRET}\N{ACCOUNT OF}:x@", "at least one host"),
        (f"redis://:x@{SECRET}\N{ACCOUNT OF}", "a host has letters, digits"),
        (f"http://:{SECRET}@h", "one of the schemes redis, rediss, unix, redis.sentinel"),
        (f"redis://h?password=x&{SECRET.lower()}=y", "an option is unknown"),
        (f"redis://h?password=x&{SECRET}", "an & or = in a value is %26"),
        (f"redis://h?db={SECRET}", "db: Input should be a valid integer"),
        (f"redis+sentinel://h/shop?sentinel_password=x&{SECRET.lower()}=1", "an option is unknown"),
        ("redis://:@h", "expected :password@"),
        ("redis:cache:6380", "as in redis://host:6379"),
        ("redis://", "at least one host"),
        ("redis:///0", "at least one host"),
        ("redis+sentinel:///shop", "at least one host"),
        ("redis+sentinel://a,,b/shop", "at least one host"),
        ("redis://a,b", "has one host; several need"),
        ("redis://h:0", "a port from 1"),
        ("redis://h:65536", "a port from 1"),
        ("redis://::1:6379", "at least one host"),
        ("redis://fe80::1", "an IPv6 address has brackets"),
        ("redis://[::zz]", "an IPv6 address between"),
        ("redis://h/abc", "a database's number"),
        ("redis://h/-1", "a database's number"),
        ("redis://h/1/2", "a database's number"),
        ("redis+sentinel://h/shop/x", "a database's number"),
        ("redis://h?db=-1", "db: Input should be greater than or equal to 0"),
        ("redis://h/1?db=1", "db is given twice"),
        ("redis+cluster://h/3", "one database only"),
        ("redis+cluster://h?db=1", "option 'db' is unknown to redis.cluster"),
        ("redis+sentinel://host", "ends in the name of the service"),
        ("unix://run/redis.sock", "three slashes"),
        ("unix://", "the path of a socket"),
        ("redis://h?ssl_cert_reqs=none", "option 'ssl_cert_reqs' needs TLS"),
        ("rediss://h?ssl_cert_reqs=maybe", "ssl_cert_reqs: Input should be 'none', 'optional' or 'required'"),
        ("rediss://h?ssl_check_hostname=perhaps", "ssl_check_hostname: Input should be a valid boolean"),
        ("rediss://h?ssl_min_version=TLSv1.1", "ssl_min_version: expected one of TLSv1.2"),
        ("rediss://h?ssl_include_verify_flags=X", "ssl_include_verify_flags: expected names among"),
        ("redis://h?socket_timeout=abc", "socket_timeout: Input should be a valid number"),
        ("redis://h?socket_timeout=inf", "socket_timeout: Input should be a finite number"),
        ("redis://h?sokcet_timeout=1", "option 'sokcet_timeout' is unknown to redis://"),
        ("redis://h?retry_on_timeout=true", "option 'retry_on_timeout' is unknown"),
    ],
)
def test_a_url_that_is_not_understood_is_refused_in_one_sentence_without_its_password(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as refused:
        parse_redis_url(url)
    assert SECRET.lower() not in str(refused.value).lower()
    assert "\n" not in str(refused.value)


def test_no_part_of_any_password_is_printed() -> None:
    rng = random.Random(0)
    letters = string.ascii_letters + string.punctuation + " \n\0\u00e9\ud800"
    for _ in range(2_000):
        password = "".join(rng.choices(letters, k=12)) + "qZqZ"
        place = rng.choice(["redis://:{}@h/0", "unix://u:{}@/s", "redis+sentinel://h/s?sentinel_password={}"])
        try:
            found = repr(parse_redis_url(place.format(password)))
        except ValueError as error:
            found = str(error)
        assert "qzqz" not in found.lower()


def test_pieces_of_urls_in_any_order_are_read_or_refused() -> None:
    rng = random.Random(1)
    pieces = ["redis", "+sentinel", "+cluster", "unix", "://", "db", "1", "h", *":@/?#%[],=&"]
    for _ in range(2_000):
        with suppress(ValueError):
            assert isinstance(parse_redis_url("".join(rng.choices(pieces, k=rng.randrange(12)))), RedisUrl)
