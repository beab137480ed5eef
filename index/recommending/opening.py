"""Opens a bundle by where it is: its own folder, or a registry, whose published bundle is opened."""

from pathlib import Path

from index.bundle import open_bundle as open_folder
from index.errors import InputError
from index.manifest import BUNDLE_ID, MANIFEST
from index.recommending.asked_bundle import AskedBundle
from index.registry import Registry, find_bundle, open_registry

COPIES = Path("~/.cache/anchorrec")


def open_bundle(place: str | Path, *, verify: bool = True, mapped: bool = True, copies: Path = COPIES) -> AskedBundle:
    """Open a bundle to ask it for lists: a bundle's folder, or a registry, whose published bundle is opened.

    Args:
        place: a path, or the URL of a bucket or of a bundle in it.
        verify: check the sums of all files, which reads them all.
        mapped: False reads all arrays into memory, so that later damage of the files does not matter.
        copies: folder for what is downloaded from a bucket.

    Raises:
        InputError: there is no bundle, none is published, or (BundleError) it is damaged.
    """
    return AskedBundle.of(open_folder(_folder(str(place), copies), verify=verify, mapped=mapped))


def _folder(place: str, copies: Path) -> Path:
    if "://" not in place and (Path(place) / MANIFEST).is_file():
        return Path(place)
    if BUNDLE_ID.fullmatch(place.rstrip("/").rpartition("/")[2]):
        registry, bundle_id = find_bundle(place, copies)
        return registry.path(bundle_id)
    if "://" not in place and not Path(place).is_dir():
        raise InputError(f"{place} is no folder; expected that of a bundle, or of a registry of bundles")
    registry = open_registry(place, copies)
    return registry.path(_published(registry, place))


def _published(registry: Registry, place: str) -> str:
    bundle_id = registry.current_id()
    if bundle_id is not None:
        return bundle_id
    newest = registry.ids()[:1]
    if not newest:
        raise InputError(f"{place} holds no bundle; expected a bundle's folder, or a registry of bundles")
    raise InputError(
        f"{place} has no published bundle; publish its newest: python -m index publish {place}/{newest[0]}"
    )
