"""Finds the address of an allowed host, and refuses one inside the operator's own network."""

import asyncio
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from service.encoding.picture_error import PictureError
from service.image_hosts import ImageHost

NAT64 = ip_network("64:ff9b::/96")

Address = IPv4Address | IPv6Address


async def checked_address(host: ImageHost) -> str:
    """One address of the host; the caller must connect to this one, since the next look-up may give another.

    PictureError where any of its addresses is private, unless the operator listed the host with its port.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host.host.strip("[]"), host.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise PictureError(f"{host.host} has no address: {error}", may_pass=True) from error
    addresses = [str(one[4][0]).partition("%")[0] for one in found]
    private = next((one for one in addresses if not is_public(ip_address(one))), None)
    if private is not None and not host.may_be_private:
        raise PictureError(
            f"{host.host} has the address {private}, which is not public; where it is meant, list it with its port: "
            f"RECO_IMAGE_HOSTS={host.scheme}://{host.host}:{host.port}"
        )
    return addresses[0]


def is_public(address: Address) -> bool:
    """Whether the address, or the IPv4 address that it carries, is reachable for everybody."""
    carried = _carried_ipv4(address) if isinstance(address, IPv6Address) else None
    return address.is_global and not address.is_multicast and (carried is None or is_public(carried))


def _carried_ipv4(address: IPv6Address) -> IPv4Address | None:
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    if address.teredo is not None:
        return address.teredo[1]
    return address.ipv4_mapped or address.sixtofour
