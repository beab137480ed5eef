"""What a caller may rely on, out of an OpenAPI document: operations, their parameters, the fields of their answers."""

from collections.abc import Iterator, Mapping
from typing import Any

Shape = dict[str, dict[str, Any]]


def shape_of(document: Mapping[str, Any]) -> Shape:
    """By operation: its parameters and body fields, whether they must be there, and its answer's fields by type."""
    shapes: Shape = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            given = {one["name"]: one["required"] for one in operation.get("parameters", ())}
            body = _schema(operation.get("requestBody", {}))
            for status, response in operation["responses"].items():
                if status.startswith("2"):
                    shapes[f"{method.upper()} {path}"] = {
                        "takes": given | {f"body{name}": needed for name, _, needed in _fields(body, document)},
                        "status": status,
                        "gives": _kinds(_fields(_schema(response), document)),
                    }
    return shapes


def broken(kept: Shape, now: Shape) -> list[str]:
    """What a caller of `kept` would miss in `now`; more operations, optional parameters and fields break nobody."""
    found = [f"{operation}: is gone" for operation in kept if operation not in now]
    for operation in kept.keys() & now.keys():
        before, after = kept[operation], now[operation]
        gives, takes = after["gives"], after["takes"]
        for name, kind in before["gives"].items():
            if gives.get(name) != kind:
                found.append(f"{operation}: gives {name} as {gives.get(name)}, was {kind}")
        found += [f"{operation}: takes {name} no more" for name in before["takes"] if name not in takes]
        found += [f"{operation}: needs {name}" for name in takes if takes[name] and not before["takes"].get(name)]
        if before["status"] != after["status"]:
            found.append(f"{operation}: answers {after['status']}, was {before['status']}")
    return sorted(found)


def _kinds(fields: "Iterator[tuple[str, str, bool]]") -> dict[str, str]:
    """The types that a field may have, by its path."""
    kinds: dict[str, set[str]] = {}
    for name, kind, _ in fields:
        kinds.setdefault(name, set()).add(kind)
    return {name: " or ".join(sorted(found)) for name, found in kinds.items()}


def _schema(carrier: Mapping[str, Any]) -> Mapping[str, Any]:
    schema: Mapping[str, Any] = carrier.get("content", {}).get("application/json", {}).get("schema", {})
    return schema


def _fields(
    schema: Mapping[str, Any], document: Mapping[str, Any], name: str = "", needed: bool = True, depth: int = 0
) -> Iterator[tuple[str, str, bool]]:
    """Each field with its path, its type, and whether it must be there."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    either = schema.get("anyOf") or schema.get("oneOf")
    if either:
        for one in either:
            yield from _fields(one, document, name, needed, depth)
        return
    if name and "type" in schema:
        yield name, schema["type"], needed
    if depth < 8:
        required = schema.get("required", ())
        for key, inner in schema.get("properties", {}).items():
            yield from _fields(inner, document, f"{name}.{key}", needed and key in required, depth + 1)
        if "items" in schema:
            yield from _fields(schema["items"], document, f"{name}[]", needed, depth + 1)
