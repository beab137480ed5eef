"""Opens the bundle that a process starts with: the published one, or an earlier one where it cannot be served."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import structlog

from index.bundle import Bundle, damage_as_bundle_error, open_bundle
from index.bundle_store import StoreUnavailableError
from index.errors import BundleError, InputError
from index.file_stamps import FileStamps
from index.probing.probed_indexes import ProbedIndexes
from index.registry import Pointer, Registry
from service.bundles.verified_files import Verified, VerifiedFiles, identities
from service.settings import BundleSettings

log = structlog.get_logger()


@dataclass(frozen=True)
class OpenedBundle:
    """An open bundle, with the stamps of its files from before it was opened."""

    registry: Registry
    bundle: Bundle
    stamps: FileStamps
    verified: bool  # whether the checksums of its files were checked
    pointer: Pointer | None = None  # as read when the process started
    failures: dict[str, str] = field(default_factory=dict)  # by id: why newer bundles cannot be served


def open_verified(
    registry: Registry, bundle_id: str, settings: BundleSettings, *, verify: bool, shared_with: Sequence[Bundle] = ()
) -> OpenedBundle:
    """Open one bundle with its index, checking all sums if `verify`. InputError where it must not be served.

    A damaged copy of a bundle in a bucket is fetched again, once. shared_with: as for `open_bundle`.
    """
    try:
        return _open(registry, bundle_id, settings, shared_with, verify=verify)
    except BundleError:
        if not registry.drop_copy(bundle_id):
            raise
        return _open(registry, bundle_id, settings, shared_with, verify=verify)


def _open(
    registry: Registry, bundle_id: str, settings: BundleSettings, shared_with: Sequence[Bundle], *, verify: bool
) -> OpenedBundle:
    path = registry.path(bundle_id)
    verified, now_ns = VerifiedFiles(settings.data_folder), time.time_ns()
    with damage_as_bundle_error():
        stamps, files = FileStamps.of(path), identities(path)
    known = verified.find(bundle_id, files) if verify else None
    bundle = open_bundle(
        path,
        verify=verify,
        mapped=settings.bundle_files == "mapped",
        known=known is not None,
        probed=ProbedIndexes(settings.data_folder),
        largest_norm=None if known is None else known.largest_norm,
        shared_with=shared_with,
    )
    if bundle.bundle_id != bundle_id:
        raise BundleError(f"{path} holds bundle {bundle.bundle_id}; expected {bundle_id}: the folder was renamed")
    index = bundle.index()  # whatever is read of a bundle is read before it is chosen
    if verify and known is None:
        verified.remember(Verified(bundle=bundle_id, files=files, largest_norm=index.norm), now_ns)
    return OpenedBundle(registry, bundle, stamps, verify)


def open_published(settings: BundleSettings) -> OpenedBundle:
    """Open the published bundle; where it cannot be served, with `bundle_fallback`, the newest earlier one that can.

    While the registry is unavailable: the bundle that served on this machine before, from its local copy.
    InputError says what is wrong with the published bundle where none can be served.
    """
    registry = settings.open_registry()
    try:
        return _open_newest(registry, settings)
    except StoreUnavailableError as error:
        copies = registry.offline_registry()
        if copies.pointer() is None:
            raise
        log.error("the registry is unavailable; serving the last bundle", registry=str(registry), error=str(error))
        return replace(_open_newest(copies, settings), registry=registry)


def _open_newest(registry: Registry, settings: BundleSettings) -> OpenedBundle:
    pointer = registry.published()
    failures: dict[str, str] = {}
    for bundle_id in [pointer.bundle, *(registry.rollback_targets()[::-1] if settings.bundle_fallback else ())]:
        try:
            opened = open_verified(registry, bundle_id, settings, verify=settings.verify_bundle == "start")
        except StoreUnavailableError:
            raise
        except (InputError, OSError) as error:
            failures[bundle_id] = str(error)
            continue
        if failures:
            log.error("the published bundle cannot be served; serving an earlier one", bundle=bundle_id, **failures)
        return replace(opened, pointer=pointer, failures=failures)
    raise InputError(failures[pointer.bundle])
