"""What trainer and service share: the bundle on disk and the search over it. No torch, no HTTP.

    from index import open_bundle

    bundle = open_bundle("bundles")
    for item in bundle.recommend("u0042", k=5):
        print(item.rank, item.title, item.score, item.why)

The names below are imported on first use, so that `import index` alone costs neither numpy nor FAISS.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from index.extras import tell_missing_packages

if TYPE_CHECKING:
    from index.bundle import Bundle, BundleContent, BundleError, write_bundle
    from index.errors import InputError
    from index.foreign.vectors import bundle_from_vectors
    from index.item_index import ItemIndex
    from index.recommending.asked_bundle import AskedBundle
    from index.recommending.opening import open_bundle
    from index.registry import Registry, open_registry

__version__ = "0.1.0"
__all__ = [
    "AskedBundle",
    "Bundle",
    "BundleContent",
    "BundleError",
    "InputError",
    "ItemIndex",
    "Registry",
    "__version__",
    "bundle_from_vectors",
    "open_bundle",
    "open_registry",
    "write_bundle",
]

tell_missing_packages("index")

_MODULES = {
    **dict.fromkeys(("Bundle", "BundleContent", "BundleError", "write_bundle"), "index.bundle"),
    "InputError": "index.errors",
    "ItemIndex": "index.item_index",
    "bundle_from_vectors": "index.foreign.vectors",
    "AskedBundle": "index.recommending.asked_bundle",
    "open_bundle": "index.recommending.opening",
    **dict.fromkeys(("Registry", "open_registry"), "index.registry"),
}

if not TYPE_CHECKING:  # for mypy the imports above are all there is

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_MODULES[name]), name)
