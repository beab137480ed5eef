"""The application that FastAPI documents, with what its document says of keys."""

from typing import Any

from fastapi import FastAPI

SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "an API key (docs/security.md)"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "the same key"},
}
EITHER: list[dict[str, list[str]]] = [{"bearer": []}, {"header": []}]


class DocumentedApp(FastAPI):
    """FastAPI whose document asks for a key where the service does.

    Which role a call needs stands beside it as `x-role`.
    """

    def __init__(self, *, keys: bool, **options: Any) -> None:
        super().__init__(**options)
        self._keys = keys

    def openapi(self) -> dict[str, Any]:
        """The document, made once."""
        document = super().openapi()
        document.setdefault("components", {})["securitySchemes"] = SCHEMES
        document["security"] = EITHER if self._keys else []
        return document
