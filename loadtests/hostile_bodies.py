"""Invalid bodies of any size, in every shape that could be expensive to parse, to validate or to describe."""

from collections.abc import Iterator

ROUTES = {  # each with the field of its body that holds a list
    "/recommend": b'{"items":%b}',
    "/recommend/batch": b'{"user_ids":%b}',
    "/events": b'{"events":%b}',
    "/retrain/a/result": b'{"reason":%b}',
}
LISTS = {  # further lists of /recommend
    "rules": b'{"rules":{"block":%b}}',
    "exclude": b'{"exclude":%b}',
    "unknown": b'{"unknown":%b}',
    "itself": b"%b",
}
ENTRIES = {  # of one list
    "objects": b"{}",
    "lists": b"[]",
    "nested lists": b"[[[[[[[[]]]]]]]]",
    "nested objects": b'{"":{"":{"":{}}}}',
    "numbers": b"1",
    "long numbers": b"1.7976931348623157e308",
    "numbers beyond 64 bits": b"18446744073709551616",
    "strings": b'""',
    "escapes": b'"\\ud83d\\ude00"',
    "objects with a field": b'{"item_id":0}',
    "valid items": b'{"item_id":"a"}',
    "nulls": b"null",
}


def hostile_bodies(n_bytes: int) -> Iterator[tuple[str, str, bytes]]:
    """Yield a name, the path and a body of nearly so many bytes."""
    for path, frame in [*ROUTES.items(), *(("/recommend", frame) for frame in LISTS.values())]:
        room = n_bytes - len(frame)
        for name, value in _values(room):
            yield f"{path} {(frame % b'...').decode()} {name}", path, frame % value
    for path in ROUTES:
        for name, body in _whole(n_bytes):
            yield f"{path} {name}", path, body


def _values(room: int) -> Iterator[tuple[str, bytes]]:
    for name, entry in ENTRIES.items():
        yield f"of {name}", b"[" + b",".join([entry] * ((room - 1) // (len(entry) + 1))) + b"]"
    yield "of one object of many fields", b"[" + _object(room - 2) + b"]"


def _whole(n_bytes: int) -> Iterator[tuple[str, bytes]]:
    yield "many fields", _object(n_bytes)
    yield "one field many times", b"{" + b",".join([b'"k":0'] * ((n_bytes - 1) // 6)) + b"}"
    yield "deep lists", b"[" * (n_bytes // 2) + b"]" * (n_bytes // 2)
    yield "deep objects", b'{"k":' * (n_bytes // 6) + b"0" + b"}" * (n_bytes // 6)
    yield "open lists", b"[" * n_bytes
    yield "a long string", b'"' + b"a" * (n_bytes - 2) + b'"'
    yield "a long escape", b'"' + b"\\u0000" * ((n_bytes - 2) // 6) + b'"'
    yield "a long key", b'{"' + b"k" * (n_bytes - 6) + b'":0}'
    yield "a long number", b"1" * n_bytes
    yield "a long fraction", b"0." + b"1" * (n_bytes - 2)
    yield "a long exponent", b"1e" + b"9" * (n_bytes - 2)
    yield "spaces", b" " * n_bytes
    yield "brackets in a string", b'"' + b"[" * (n_bytes - 2) + b'"'
    yield "no UTF-8", b'"' + b"\xff" * (n_bytes - 2) + b'"'


def _object(n_bytes: int) -> bytes:
    return b"{" + b",".join(b'"%x":0' % number for number in range(n_bytes // 10)) + b"}"
