"""The FastAPI application whose OpenAPI document names the API keys that requests need."""

from typing import Any

from fastapi import FastAPI

SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "an API key (docs/security.md)"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "the same key"},
}
EITHER: list[dict[str, list[str]]] = [{"bearer": []}, {"header": []}]


class DocumentedApp(FastAPI):
    """FastAPI whose OpenAPI document requires a key where the service does; `route()` adds each role as `x-role`."""

    def __init__(self, *, keys: bool, **options: Any) -> None:
        super().__init__(**options)
        self._keys = keys

    def openapi(self) -> dict[str, Any]:
        # FastAPI caches the document.
        document = super().openapi()
        document.setdefault("components", {})["securitySchemes"] = SCHEMES
        document["security"] = EITHER if self._keys else []
        return document
