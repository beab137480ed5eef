"""Turns a request's body into its validated value, in a time that its size bounds: whatever is too long or too deep is
refused before it is parsed or validated."""

import codecs
from collections.abc import Sized
from dataclasses import dataclass, field
from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError

from service.errors import InvalidRequestError, sentence

SPARE_CONTAINERS = 1_024  # objects and lists beyond those that a valid body may have: mistakes are to be named
SPARE_FIELDS = 64  # of an object, beyond those that it may have
SPARE_COLONS = 32_768  # beyond those of the fields of a valid body
UNKNOWN_ENTRIES = 1_024  # of a list where none belongs
MOST_DEPTH = 32  # objects and lists inside each other; a valid body has 4


@dataclass(frozen=True)
class _Shape:
    """How large a part of a body may be, from its JSON schema."""

    most_entries: int = 0  # 0: no list belongs here
    entry: "_Shape | None" = None
    fields: dict[str, "_Shape"] = field(default_factory=dict)
    most_named: int = 0  # fields of any name, beside these
    named: "_Shape | None" = None

    @property
    def n_containers(self) -> int:
        """The most objects and lists that a valid value holds."""
        in_lists = 1 + self.most_entries * self.entry.n_containers if self.entry else 0
        in_fields = 1 + sum(shape.n_containers for shape in self.fields.values()) if self.fields else 0
        in_named = 1 + self.most_named * self.named.n_containers if self.named else 0
        return in_lists + in_fields + in_named

    @property
    def n_fields(self) -> int:
        """The most fields that a valid value and all values in it have."""
        in_lists = self.most_entries * self.entry.n_fields if self.entry else 0
        in_named = self.most_named * (1 + self.named.n_fields) if self.named else 0
        return in_lists + in_named + len(self.fields) + sum(shape.n_fields for shape in self.fields.values())


_ANY = _Shape()


class BodyParser:
    """Parses the bodies of one route."""

    def __init__(self, body: Any, *, takes_lines: bool = False) -> None:
        self.takes_lines = takes_lines  # a list may come as one entry a line (NDJSON)
        self._adapter: TypeAdapter[Any] = TypeAdapter(body)
        schema = self._adapter.json_schema()
        self._shape = _shape_of(schema, schema.get("$defs", {}))
        self._most_containers = self._shape.n_containers + SPARE_CONTAINERS
        self._most_fields = self._shape.n_fields + SPARE_COLONS

    def __call__(self, body: bytes, *, lines: bool = False) -> Any:
        """The validated value; InvalidRequestError says what is wrong in the body and what was expected.

        `lines`: each line of the body is an entry of a list.
        """
        self._check_size(body)
        value = _parse_lines(body) if lines else _parse(body)
        _check_lengths(value, self._shape)
        try:
            # Written again, so that numbers have 64 bits and what was parsed here is what is validated.
            return self._adapter.validate_json(orjson.dumps(value), strict=True)
        except ValidationError as error:
            found = error.errors(include_url=False, include_context=False)
            raise InvalidRequestError("body: " + sentence(found)) from None

    def _check_size(self, body: bytes) -> None:
        """A list or a field costs the parser far more than its few bytes. Brackets and colons in strings count too."""
        n_containers, n_fields = body.count(b"{") + body.count(b"["), body.count(b":")
        if n_containers > self._most_containers:
            raise InvalidRequestError(
                f"body: has {n_containers} objects and lists, the limit is {self._most_containers}"
            )
        if n_fields > self._most_fields:
            raise InvalidRequestError(f"body: has {n_fields} fields, the limit is {self._most_fields}")


def _parse(body: bytes) -> Any:
    try:
        return orjson.loads(body.removeprefix(codecs.BOM_UTF8))
    except orjson.JSONDecodeError as error:
        raise InvalidRequestError(f"body: invalid JSON: {_not_utf8(body) or error}") from None


def _parse_lines(body: bytes) -> list[Any]:
    values = []
    for number, line in enumerate(body.removeprefix(codecs.BOM_UTF8).split(b"\n"), 1):
        if line.strip():
            try:
                values.append(orjson.loads(line))
            except orjson.JSONDecodeError as error:
                raise InvalidRequestError(f"body: line {number}: invalid JSON: {_not_utf8(line) or error}") from None
    return values


def _not_utf8(body: bytes) -> str | None:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return f"expected UTF-8, found byte {body[error.start]:#04x} at offset {error.start}"
    return None


def _check_lengths(value: Any, shape: _Shape) -> None:
    """InvalidRequestError where a list has more entries, or an object more fields, than belong there."""
    pending: list[tuple[tuple[Any, ...], Any, _Shape]] = [((), value, shape)]
    while pending:
        path, part, shape = pending.pop()
        if len(path) > MOST_DEPTH:
            raise InvalidRequestError(f"body: has more than {MOST_DEPTH} lists and objects in each other, the limit")
        if type(part) is dict:
            _check_length(path, part, len(shape.fields) + shape.most_named + SPARE_FIELDS, "fields")
            other = shape.named or _ANY
            inner = ((name, one, shape.fields.get(name, other)) for name, one in part.items())
        elif type(part) is list:
            _check_length(path, part, shape.most_entries or UNKNOWN_ENTRIES, "entries")
            inner = ((i, one, shape.entry or _ANY) for i, one in enumerate(part))
        else:
            continue
        pending += [((*path, step), one, its) for step, one, its in inner if type(one) in (list, dict)]


def _check_length(path: tuple[Any, ...], part: Sized, limit: int, kind: str) -> None:
    if len(part) > limit:
        name = ".".join(str(step)[:80] for step in path)
        raise InvalidRequestError(f"body: {name}{' ' if name else ''}has {len(part)} {kind}, the limit is {limit}")


def _shape_of(schema: dict[str, Any], definitions: dict[str, Any]) -> _Shape:
    """The shape of a JSON schema; of alternatives, all that any of them may have."""
    if "$ref" in schema:
        return _shape_of(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    ways = [_shape_of(way, definitions) for way in (*schema.get("oneOf", ()), *schema.get("anyOf", ()))]
    fields = {name: _shape_of(one, definitions) for name, one in schema.get("properties", {}).items()}
    lists = [way for way in ways if way.most_entries]
    if "items" in schema:
        lists.append(_Shape(schema["maxItems"], _shape_of(schema["items"], definitions)))
    longest = max(lists, key=lambda one: one.most_entries, default=_ANY)
    named = [way for way in ways if way.most_named]
    if isinstance(schema.get("additionalProperties"), dict):
        named.append(
            _Shape(most_named=_most_named(schema), named=_shape_of(schema["additionalProperties"], definitions))
        )
    widest = max(named, key=lambda one: one.most_named, default=_ANY)
    for way in ways:
        fields = {**way.fields, **fields}
    return _Shape(longest.most_entries, longest.entry, fields, widest.most_named, widest.named)


def _most_named(schema: dict[str, Any]) -> int:
    """How many fields of any name an object may have."""
    names = schema.get("propertyNames", {}).get("enum")
    return int(schema.get("maxProperties", SPARE_FIELDS)) if names is None else len(names)
