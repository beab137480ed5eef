"""Addresses of callers: read in every spelling, and reduced to the one that a caller is known by."""

import ipaddress
import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

ADDRESS_CACHE_SIZE = 16_384
UNKNOWN = "unknown"
MAX_CHARS = 100  # of an address with port and zone; a longer text is none
MAPPED = IPv6Network("::ffff:0:0/96")
# An IPv6 network of which the low 32 bits are the caller's IPv4 address (RFC 4291, 2765, 6052, 8215).
CARRYING_IPV4 = (
    MAPPED,
    IPv6Network("::ffff:0:0:0/96"),
    IPv6Network("::/96"),
    IPv6Network("64:ff9b::/96"),
    IPv6Network("64:ff9b:1::/48"),
)
ADDRESS_AND_PORT = re.compile(r"\[(?P<bracketed>[^\]]*)\](:\d*)?|(?P<v4>[\d.]+|[\da-fA-F:]+:\d+\.[\d.]+):\d*")
LEADING_ZEROS = re.compile(r"(?<![0-9a-fA-F])0+(?=[0-9a-fA-F])")


def parse_address(text: str) -> Address | None:
    """The address in a text that may have brackets, a port, a zone and leading zeros; None where there is none.

    A mapped address (::ffff:a.b.c.d) is the IPv4 address: a socket of both families shows IPv4 callers so.
    """
    if len(text) > MAX_CHARS:
        return None
    text = text.strip().strip('"')
    matched = ADDRESS_AND_PORT.fullmatch(text)
    if matched is not None:
        text = matched["v4"] if matched["bracketed"] is None else matched["bracketed"]
    text = LEADING_ZEROS.sub("", text.partition("%")[0])
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def parse_network(text: str) -> Network:
    """The network, or the network of one address; one of mapped addresses is an IPv4 network. ValueError for others."""
    network = ipaddress.ip_network(text.strip(), strict=False)
    if isinstance(network, IPv6Network) and network.subnet_of(MAPPED):
        return IPv4Network((_low_bits(network.network_address), network.prefixlen - MAPPED.prefixlen))
    return network


def canonical(text: str) -> str:
    """The one spelling of the address in a text, `unknown` where there is none."""
    address = parse_address(text)
    return UNKNOWN if address is None else str(address)


@lru_cache(ADDRESS_CACHE_SIZE)
def caller_of(text: str) -> str:
    """Whom a rate limit counts: an IPv4 address, also where IPv6 carries it, or the /64 network of an IPv6 address.

    One caller usually has all of a /64. An IPv4 address is taken only from prefixes that no caller can choose, so
    not from the end of any address (ISATAP).
    """
    address = parse_address(text)
    if address is None:
        return UNKNOWN
    if isinstance(address, IPv6Address):
        carried = _carried_ipv4(address)
        if carried is None:
            return str(IPv6Network((address, 64), strict=False).network_address)
        address = carried
    return str(address)


def _carried_ipv4(address: IPv6Address) -> IPv4Address | None:
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]  # the client; the first is its server
    if any(address in network for network in CARRYING_IPV4):
        low = _low_bits(address)
        if low == 0:  # the layout of a /48 (RFC 6052): 16 bits on either side of an empty byte
            value = int(address)
            low = (value >> 64 & 0xFFFF) << 16 | value >> 40 & 0xFFFF
        if low >> 24:  # ::1 and the like carry none
            return IPv4Address(low)
    return None


def _low_bits(address: IPv6Address) -> int:
    return int(address) & 0xFFFF_FFFF
