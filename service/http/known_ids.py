"""Whether the service knows an id, which decides how a path with several slashes is read."""

from service.bundles.loaded import LoadedBundle
from service.errors import UnknownUserError
from service.items.store import ItemsUnavailable
from service.state import Service


async def is_known_user(service: Service, user_id: str) -> bool:
    """Whether a bundle that serves or the event log has the user."""
    for loaded in _serving(service):
        try:
            if await loaded.users.find(user_id) is not loaded.users.unknown_profile:
                return True
        except UnknownUserError:
            pass
    return False


async def is_known_item(service: Service, item_id: str) -> bool:
    """Whether a bundle that serves has the item, or it is hidden or stored."""
    has_row = any(loaded.items.row(item_id) is not None for loaded in _serving(service))
    if has_row or item_id in service.live.hidden.ids:
        return True
    try:
        return (await service.items.store.entries([item_id]))[0] is not None
    except ItemsUnavailable:
        return False


def _serving(service: Service) -> list[LoadedBundle]:
    """The published bundle, and those of the running experiment's arms."""
    slots = (arm.slot for arm in service.arms.served.values() if arm.slot is not None)
    return [slot.loaded for slot in dict.fromkeys((service.current, *slots))]
