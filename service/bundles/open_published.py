"""The bundle that a process starts with: the published one, or an earlier one where that cannot be served."""

from dataclasses import dataclass, field, replace

import structlog

from index.bundle import Bundle, open_bundle
from index.bundle_store import StoreUnavailableError
from index.errors import InputError
from index.file_stamps import FileStamps
from index.registry import Pointer, Registry
from service.settings import Settings

log = structlog.get_logger()


@dataclass(frozen=True)
class OpenedBundle:
    """An open bundle, and the seal that its files had before it was opened."""

    registry: Registry
    bundle: Bundle
    stamps: FileStamps
    verified: bool
    pointer: Pointer | None = None  # as it was before a start
    passed_over: dict[str, str] = field(default_factory=dict)  # by bundle id, what was wrong with it


def open_verified(registry: Registry, bundle_id: str, settings: Settings, *, verify: bool) -> OpenedBundle:
    """Open one bundle as the settings say. InputError where it must not be served; OSError where it cannot be read."""
    path = registry.path(bundle_id)
    stamps = FileStamps.of(path)
    bundle = open_bundle(path, verify=verify, mapped=settings.bundle_files == "mapped")
    if bundle.bundle_id != bundle_id:
        raise InputError(f"{path} holds bundle {bundle.bundle_id}; expected {bundle_id}: the folder was renamed")
    return OpenedBundle(registry, bundle, stamps, verify)


def open_published(settings: Settings) -> OpenedBundle:
    """The bundle that the registry's pointer names; the newest earlier one that is whole, where the operator allows.

    While the registry is away: what served on this machine before, of which the copies are here.
    InputError where none can be served: of the published one.
    """
    registry = settings.open_registry()
    try:
        return _open_published(registry, settings)
    except StoreUnavailableError as error:
        copies = registry.offline_registry()
        if copies.pointer() is None:
            raise
        log.error("the registry is away; what served here before does", registry=str(registry), error=str(error))
        return replace(_open_published(copies, settings), registry=registry)


def _open_published(registry: Registry, settings: Settings) -> OpenedBundle:
    wanted, pointer = registry.current().name, registry.pointer()
    passed_over: dict[str, str] = {}
    for bundle_id in [wanted, *(registry.rollback_targets()[::-1] if settings.bundle_fallback else ())]:
        try:
            opened = open_verified(registry, bundle_id, settings, verify=settings.verify_bundle == "start")
        except (InputError, OSError) as error:
            passed_over[bundle_id] = str(error)
            continue
        if passed_over:
            log.error("the published bundle cannot be served; an earlier one does", bundle=bundle_id, **passed_over)
        return replace(opened, pointer=pointer, passed_over=passed_over)
    raise InputError(passed_over[wanted])
