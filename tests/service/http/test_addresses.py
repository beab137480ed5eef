import pytest

from service.http.addresses import caller_of, canonical, parse_address, parse_network


@pytest.mark.parametrize(
    "text",
    [
        "198.51.100.7",
        "198.051.100.007",
        "198.51.100.7:4711",
        "198.51.100.7%eth0",
        "::ffff:198.51.100.7",
        "::ffff:198.051.100.007",
        "::ffff:198.51.100.7:4711",
        "::ffff:198.51.100.7%eth0",
        "::ffff:c633:6407",
        "::FFFF:C633:6407",
        "0:0:0:0:0:ffff:198.51.100.7",
        "0000:0000:0000:0000:0000:ffff:c633:6407",
        "[::ffff:198.51.100.7]",
        "[::ffff:198.51.100.7]:4711",
        "[::ffff:c633:6407%25eth0]:4711",
        ' "[::ffff:198.51.100.7]:4711" ',
    ],
)
def test_a_mapped_address_is_the_ipv4_address_in_every_spelling(text: str) -> None:
    assert canonical(text) == caller_of(text) == "198.51.100.7"


@pytest.mark.parametrize(
    "text",
    [
        "::198.51.100.7",  # compatible
        "::c633:6407",
        "::ffff:0:198.51.100.7",  # translated
        "64:ff9b::198.51.100.7",  # NAT64
        "64:ff9b::c633:6407",
        "0064:ff9b:0000:0000:0000:0000:c633:6407",
        "[64:ff9b::c633:6407]:4711",
        "64:ff9b:1::198.51.100.7",  # NAT64 of a site
        "64:ff9b:1:fffe::c633:6407",
        "64:ff9b:1:c633:64:700::",
        "2002:c633:6407::1",  # 6to4
        "2002:c633:6407:1234:5678:9abc:def0:1234",
        "2001:0:4136:e378:8000:63bf:39cc:9bf8",  # Teredo
        "2001::39cc:9bf8",
    ],
)
def test_a_caller_whose_ipv4_address_ipv6_carries_is_that_ipv4_address(text: str) -> None:
    assert caller_of(text) == "198.51.100.7"
    assert canonical(text) != "198.51.100.7"  # anybody may call itself so: no proxy is trusted by it


@pytest.mark.parametrize(
    ("text", "caller"),
    [
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:0db8:0001:0002:ffff::1", "2001:db8:1:2::"),
        ("[2001:db8:1:2:3:4:5:6%25eth0]:80", "2001:db8:1:2::"),
        ("2001:db8:1:2:0:5efe:198.51.100.7", "2001:db8:1:2::"),  # ISATAP: anybody chooses the end of its address
        ("fe80::1%eth0", "fe80::"),
        ("::1", "::"),
        ("::", "::"),
        ("64:ff9b:1::", "64:ff9b:1::"),
    ],
)
def test_any_other_ipv6_caller_is_its_network(text: str, caller: str) -> None:
    assert caller_of(text) == caller


@pytest.mark.parametrize("text", ["", "x", "unknown", "_hidden", "1.2.3", "1.2.3.4.5", "[::1", "[]:80", ":", "1" * 999])
def test_what_is_no_address_is_unknown(text: str) -> None:
    assert canonical(text) == caller_of(text) == "unknown"
    assert parse_address(text) is None


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.1.2.3/8", "10.0.0.0/8"),
        ("10.1.2.3", "10.1.2.3/32"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:10.1.2.3", "10.1.2.3/32"),
        ("fd00::/8", "fd00::/8"),
    ],
)
def test_a_network_of_mapped_addresses_is_the_ipv4_network(text: str, network: str) -> None:
    assert str(parse_network(text)) == network
