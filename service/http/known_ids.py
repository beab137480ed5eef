"""Whether the service knows an id, which decides how a path with several slashes is read."""

from service.errors import UnknownUserError
from service.items.store import ItemsUnavailable
from service.state import Service


async def is_known_user(service: Service, user_id: str) -> bool:
    """Whether the bundle or the event log has the user."""
    users = service.current.loaded.users
    try:
        return await users.find(user_id) is not users.unknown_profile
    except UnknownUserError:
        return False


async def is_known_item(service: Service, item_id: str) -> bool:
    """Whether the bundle has the item, or it is hidden or stored."""
    if service.current.loaded.items.row(item_id) is not None or item_id in service.live.hidden.ids:
        return True
    try:
        return (await service.items.store.entries([item_id]))[0] is not None
    except ItemsUnavailable:
        return False
