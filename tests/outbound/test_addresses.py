from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from async_endpoint.outbound.addresses import carried_ipv4, is_metadata, special_use

# Both IANA special-purpose registries with their "globally reachable" column (N/A is no), and multicast.
REGISTRY = [
    ("0.0.0.0/8", False),
    ("0.0.0.0/32", False),
    ("10.0.0.0/8", False),
    ("100.64.0.0/10", False),
    ("127.0.0.0/8", False),
    ("169.254.0.0/16", False),
    ("172.16.0.0/12", False),
    ("192.0.0.0/24", False),
    ("192.0.0.0/29", False),
    ("192.0.0.8/32", False),
    ("192.0.0.9/32", True),
    ("192.0.0.10/32", True),
    ("192.0.0.170/32", False),
    ("192.0.0.171/32", False),
    ("192.0.2.0/24", False),
    ("192.31.196.0/24", True),
    ("192.52.193.0/24", True),
    ("192.88.99.0/24", False),
    ("192.88.99.2/32", False),
    ("192.168.0.0/16", False),
    ("192.175.48.0/24", True),
    ("198.18.0.0/15", False),
    ("198.51.100.0/24", False),
    ("203.0.113.0/24", False),
    ("224.0.0.0/4", False),
    ("240.0.0.0/4", False),
    ("255.255.255.255/32", False),
    ("::1/128", False),
    ("::/128", False),
    ("64:ff9b:1::/48", False),
    ("100::/64", False),
    ("100:0:0:1::/64", False),
    ("2001:1::1/128", True),
    ("2001:1::2/128", True),
    ("2001:1::3/128", True),
    ("2001:2::/48", False),
    ("2001:3::/32", True),
    ("2001:4:112::/48", True),
    ("2001:10::/28", False),
    ("2001:20::/28", True),
    ("2001:30::/28", True),
    ("2001:db8::/32", False),
    ("2620:4f:8000::/48", True),
    ("3fff::/20", False),
    ("5f00::/16", False),
    ("fc00::/7", False),
    ("fe80::/10", False),
    ("fec0::/10", False),
    ("ff00::/8", False),
]


@pytest.mark.parametrize(("block", "reachable"), REGISTRY)
def test_the_first_and_the_last_address_of_every_registered_block(block: str, reachable: bool) -> None:
    network = ip_network(block)
    for address in (network[0], network[-1]):
        assert (special_use(address) is None) is reachable, address


@pytest.mark.parametrize(
    "block",
    [
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "2001:db8::/32",
    ],
)
def test_the_neighbours_of_a_special_block_are_public(block: str) -> None:
    network = ip_network(block)
    assert special_use(network[0] - 1) is None
    assert special_use(network[-1] + 1) is None


@pytest.mark.parametrize(
    "text",
    [
        "1.0.0.0",
        "8.8.8.8",
        "223.255.255.255",
        "2000::",
        "2001:200::1",
        "2003::1",
        "2606:4700:4700::1111",
        "2a00:1450::1",
        "3ffe::1",
        "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "3fff:1000::",
    ],
)
def test_public_addresses(text: str) -> None:
    assert special_use(ip_address(text)) is None


@pytest.mark.parametrize(
    "text", ["1fff:ffff::1", "4000::", "6000::1", "8000::1", "e000::1", "fe00::1", "::2:0:0:1"]
)
def test_only_global_unicast_space_is_public(text: str) -> None:
    assert special_use(ip_address(text)) == "reserved"


def spellings_in_ipv6(address: IPv4Address) -> dict[str, IPv6Address]:
    bits = int(address)
    public = int(IPv4Address("8.8.8.8"))
    return {
        "mapped": IPv6Address(0xFFFF << 32 | bits),
        "NAT64": IPv6Address(0x64_FF9B << 96 | bits),
        "6to4": IPv6Address(0x2002 << 112 | bits << 80 | 1),
        "Teredo client": IPv6Address(0x2001 << 112 | public << 64 | (~bits & 0xFFFF_FFFF)),
        "Teredo server": IPv6Address(0x2001 << 112 | bits << 64 | (~public & 0xFFFF_FFFF)),
        "ISATAP": IPv6Address(0x2A00_1450 << 96 | 0x5EFE << 32 | bits),
        "ISATAP, unique": IPv6Address(0x2A00_1450 << 96 | 0x0200_5EFE << 32 | bits),
    }


@given(st.ip_addresses(v=4))
def test_an_ipv6_address_is_as_public_as_the_ipv4_address_in_it(address: IPv4Address) -> None:
    for form, spelling in spellings_in_ipv6(address).items():
        assert address in carried_ipv4(spelling), form
        assert special_use(spelling) == special_use(address), form
        assert is_metadata(spelling) == is_metadata(address), form


@given(st.ip_addresses(v=4))
def test_outdated_and_local_translations_are_never_public(address: IPv4Address) -> None:
    bits = int(address)
    compatible, translated = IPv6Address(bits), IPv6Address(0xFFFF << 48 | bits)
    local_nat64 = IPv6Address(0x64_FF9B_0001 << 80 | bits)
    assert all(special_use(one) for one in (compatible, translated, local_nat64))
    assert is_metadata(compatible) == is_metadata(address)


@given(st.ip_addresses(v=4))
def test_ipv4_addresses_agree_with_the_standard_library_where_it_is_up_to_date(address: IPv4Address) -> None:
    differs = [ip_network("192.0.0.0/24"), ip_network("192.88.99.0/24"), ip_network("224.0.0.0/4")]
    if not any(address in network for network in differs):
        assert (special_use(address) is None) == address.is_global


@pytest.mark.parametrize(
    "text",
    [
        "169.254.169.254",
        "169.254.170.2",
        "168.63.129.16",
        "100.100.100.200",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
        "fe80::a9fe:a9fe",
        "fd00:c1::a9fe:a9fe",
        "fd00:42::42",
        "::ffff:169.254.169.254",
        "::169.254.169.254",
        "64:ff9b::a83f:8110",
        "2002:a9fe:a9fe::",
    ],
)
def test_metadata_services_of_clouds(text: str) -> None:
    assert is_metadata(ip_address(text))


@pytest.mark.parametrize(
    "text", ["127.0.0.1", "10.0.0.1", "192.168.1.1", "8.8.8.8", "168.63.129.17", "fd00::1", "::1"]
)
def test_other_addresses_are_not_metadata_services(text: str) -> None:
    assert not is_metadata(ip_address(text))
