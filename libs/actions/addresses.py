"""Which network addresses an outbound call may reach: pure rules over URLs, names and IP addresses.

Public addresses are allowed (unless the policy says otherwise); every other range needs an entry of RR_EGRESS_ALLOW:
an address or CIDR opens exactly that range, a host name opens private and loopback addresses for that name alone.
Link-local and cloud metadata addresses open only by an address or CIDR, never through a name, so that DNS cannot
lead there. Multicast, broadcast and the unspecified address never open.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import httpx

from libs.actions.errors import EgressRefused

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

URL_LIMIT = 4096
AUTHORITY = re.compile(r"[A-Za-z]+://([^/?#]*)")
LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
NUMERIC_LABEL = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
ENTRY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\[\]/]+)(?::(?P<port>[0-9]{1,5}))?")
# Metadata services that stand on addresses which the registries call global.
METADATA = (ip_network("168.63.129.16/32"), ip_network("100.100.100.200/32"), ip_network("fd00:ec2::/32"))
# Not public either, whatever a Python version's `is_global` says: special assignments, 6to4 relays, old site-local.
RESERVED = (ip_network("192.0.0.0/24"), ip_network("192.88.99.0/24"), ip_network("fec0::/10"))
NAT64 = (ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48"))
V4_COMPATIBLE = ip_network("::/96")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request goes: scheme, host as written (lower case, no brackets), port."""

    scheme: str
    host: str
    port: int

    @property
    def literal(self) -> Address | None:
        """The address, when the host is one."""
        return _address(self.host)


@dataclass(frozen=True, slots=True)
class EgressPolicy:
    """What outbound calls may reach. `hosts` are (name or address, port or None)."""

    hosts: frozenset[tuple[str, int | None]] = frozenset()
    networks: tuple[Network, ...] = ()
    public: bool = True

    @classmethod
    def of(cls, allow: str = "", *, public: bool = True) -> EgressPolicy:
        """From RR_EGRESS_ALLOW: a comma list of host, host:port, address or CIDR; ValueError names a bad entry."""
        hosts: set[tuple[str, int | None]] = set()
        networks: list[Network] = []
        for entry in filter(None, (raw.strip() for raw in allow.split(","))):
            parsed = _entry(entry)
            if isinstance(parsed, tuple):
                hosts.add(parsed)
            else:
                networks.append(parsed)
        return cls(frozenset(hosts), tuple(networks), public)

    def check_name(self, origin: Origin) -> None:
        """EgressRefused when a name may not even be looked up (only where public hosts are closed)."""
        if not self.public and origin.literal is None and not self._named(origin) and not self.networks:
            raise EgressRefused("egress_host_blocked", f"host {origin.host!r} is not in RR_EGRESS_ALLOW")

    def permits(self, origin: Origin, address: Address) -> bool:
        """Whether a connection for this origin may go to this address."""
        effective = embedded(address)
        if any(item.is_multicast or item.is_unspecified or item == BROADCAST for item in (address, effective)):
            return False
        literal = (str(effective), origin.port) in self.hosts or (str(effective), None) in self.hosts
        if literal or any(effective in network for network in self.networks if network.version == effective.version):
            return True
        if effective.is_link_local or _within(effective, METADATA):
            return False
        return self._named(origin) or (self.public and is_public(effective))

    def _named(self, origin: Origin) -> bool:
        return (origin.host, origin.port) in self.hosts or (origin.host, None) in self.hosts


BROADCAST = IPv4Address("255.255.255.255")


def parse_origin(url: str) -> Origin:
    """The origin of a URL that means one thing to everybody; EgressRefused for any other.

    Refused: schemes but http and https, userinfo, control characters, spaces and backslashes, hosts that are not
    plain ASCII names or canonical addresses (decimal, octal, hexadecimal and short forms, zones, trailing dots).
    """
    if len(url) > URL_LIMIT or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise EgressRefused("egress_url_invalid", "the URL is too long or holds characters that URLs do not have")
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError, UnicodeError):
        raise EgressRefused("egress_url_invalid", "the URL cannot be read") from None
    if parsed.scheme not in {"http", "https"}:
        raise EgressRefused("egress_scheme_blocked", f"the scheme {parsed.scheme!r} is not http or https")
    authority = AUTHORITY.match(url)
    if authority is None:
        raise EgressRefused("egress_url_invalid", "the URL names no host")
    if parsed.userinfo or "@" in authority[1]:
        raise EgressRefused("egress_userinfo", "the URL carries a user name or password; use a header")
    host = parsed.host.lower()
    port = parsed.port if parsed.port is not None else {"http": 80, "https": 443}[parsed.scheme]
    if not 0 < port < 65536 or not _plain(host):
        raise EgressRefused("egress_host_invalid", "the URL's host or port is not in its plain form")
    return Origin(parsed.scheme, host, port)


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public internet."""
    return address.is_global and not address.is_reserved and not _within(address, RESERVED)


def embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 address carries (mapped, compatible, 6to4, Teredo, NAT64), or the address."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if _within(address, NAT64) or (address in V4_COMPATIBLE and int(address) > 1):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _plain(host: str) -> bool:
    if _address(host) is not None:
        return True
    labels = host.split(".")
    named = len(host) <= 253 and all(LABEL.fullmatch(label) for label in labels)
    return named and NUMERIC_LABEL.fullmatch(labels[-1]) is None


def _address(host: str) -> Address | None:
    try:
        return None if "%" in host else ip_address(host.strip("[]"))
    except ValueError:
        return None


def _within(address: Address, networks: tuple[Network, ...]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def _entry(entry: str) -> tuple[str, int | None] | Network:
    try:
        return ip_network(entry.strip("[]"))
    except ValueError:
        pass
    match = ENTRY.fullmatch(entry)
    host = match["host"].strip("[]").lower() if match else ""
    if match is None or not _plain(host) or not 0 < int(match["port"] or 1) < 65536:
        raise ValueError(f"RR_EGRESS_ALLOW: {entry!r} is neither host, host:port, address nor CIDR")
    literal = _address(host)
    return str(literal or host), int(match["port"]) if match["port"] else None
