"""Which IP addresses are public unicast, and which belong to the metadata services of clouds.

Sources: the IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890; state of October 2025), the IANA
IPv6 Address Space registry (only 2000::/3 is global unicast), RFC 5771 and RFC 4291 for multicast. A block
whose "globally reachable" is "N/A" counts as not public.

An IPv6 address that carries an IPv4 address is at most as public as the address it carries.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import TypeAlias

IPAddress: TypeAlias = IPv4Address | IPv6Address
IPNetwork: TypeAlias = IPv4Network | IPv6Network

IPV4_MAPPED = IPv6Network("::ffff:0:0/96")
IPV4_COMPATIBLE = IPv6Network("::/96")
NAT64 = IPv6Network("64:ff9b::/96")
SIX_TO_FOUR = IPv6Network("2002::/16")
TEREDO = IPv6Network("2001::/32")
ISATAP_IDENTIFIERS = (0x0000_5EFE, 0x0200_5EFE)
"""Upper halves of ISATAP interface identifiers; the lower half is an IPv4 address (RFC 5214, section 6.1)."""


def _networks(*texts: str) -> tuple[IPNetwork, ...]:
    return tuple(ip_network(text) for text in texts)


METADATA = _networks(
    "169.254.0.0/16",  # nearly every cloud: 169.254.169.254, AWS tasks and pods 169.254.170.*, and others
    "fe80::a9fe:a9fe/128",  # OpenStack
    "100.100.100.200/32",  # Alibaba Cloud
    "100.96.0.96/32",  # Volcano Engine
    "168.63.129.16/32",  # Azure; this one lies in public space
    "192.0.0.192/32",  # Oracle Cloud, classic
    "fd00:ec2::/32",  # AWS: metadata ::254, pod identity ::23
    "fd20:ce::254/128",  # Google Cloud
    "fd00:c1::a9fe:a9fe/128",  # Oracle Cloud
    "fd00:42::42/128",  # Scaleway
)
"""Where clouds serve the credentials of their machines. No setting opens these."""

PUBLIC = _networks(
    "192.0.0.9/32",  # Port Control Protocol anycast
    "192.0.0.10/32",  # TURN anycast
    "2001:1::1/128",  # Port Control Protocol anycast
    "2001:1::2/128",  # TURN anycast
    "2001:1::3/128",  # DNS-SD service registration anycast
    "2001:3::/32",  # AMT
    "2001:4:112::/48",  # AS112
    "2001:20::/28",  # ORCHIDv2
    "2001:30::/28",  # drone remote identification
    str(IPV4_MAPPED),
    str(NAT64),
    str(TEREDO),
)
"""Public blocks inside `SPECIAL` ones. Those that carry IPv4 addresses are here: the carried ones decide."""

SPECIAL: tuple[tuple[IPNetwork, str], ...] = tuple(
    (ip_network(block), name)
    for block, name in (
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared by a carrier"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "protocol assignment"),
        ("192.0.2.0/24", "documentation"),
        ("192.88.99.0/24", "6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("64:ff9b:1::/48", "local translation"),
        ("100::/64", "discard-only"),
        ("100:0:0:1::/64", "dummy"),
        ("2001::/23", "protocol assignment"),
        ("2001:db8::/32", "documentation"),
        ("3fff::/20", "documentation"),
        ("5f00::/16", "segment routing"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
        ("::/3", "reserved"),
        ("4000::/2", "reserved"),
        ("8000::/1", "reserved"),
    )
)
"""Blocks that are not public unicast, each with its use; the first that holds an address names it."""


def special_use(address: IPAddress) -> str | None:
    """What the address, or an IPv4 address it carries, is set aside for; None when it is public unicast."""
    return next((use for one in (address, *carried_ipv4(address)) if (use := _own_use(one))), None)


def _own_use(address: IPAddress) -> str | None:
    if any(address in network for network in PUBLIC):
        return None
    return next((use for network, use in SPECIAL if address in network), None)


def is_metadata(address: IPAddress) -> bool:
    """Whether a cloud may serve the credentials of its machines at the address, however it is written."""
    return any(one in network for one in (address, *carried_ipv4(address)) for network in METADATA)


def carried_ipv4(address: IPAddress) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses that a packet to this IPv6 address may end up at; empty when it carries none.

    IPv4-mapped and -compatible (RFC 4291), NAT64 (RFC 6052), 6to4 (RFC 3056), Teredo's server and client
    (RFC 4380, the client's bits inverted) and ISATAP (RFC 5214).
    """
    if isinstance(address, IPv4Address):
        return ()
    bits = int(address)
    if address in IPV4_MAPPED or address in IPV4_COMPATIBLE or address in NAT64:
        return (_ipv4(bits),)
    if address in SIX_TO_FOUR:
        return (_ipv4(bits >> 80),)
    if address in TEREDO:
        return (_ipv4(bits >> 64), _ipv4(~bits))
    if bits >> 32 & 0xFFFF_FFFF in ISATAP_IDENTIFIERS:
        return (_ipv4(bits),)
    return ()


def _ipv4(bits: int) -> IPv4Address:
    return IPv4Address(bits & 0xFFFF_FFFF)
