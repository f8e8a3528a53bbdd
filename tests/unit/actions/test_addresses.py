"""Which addresses an outbound call may reach."""

from ipaddress import ip_address

import pytest

from libs.actions.addresses import EgressPolicy, Origin, parse_origin
from libs.actions.errors import EgressRefused

NO_PLAIN_URL = [
    "",
    "//127.0.0.1/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_INFO",
    "ftp://example.com/",
    "unix:///run/docker.sock",
    "http://",
    "http:///path",
    "http://user@example.com/",
    "http://user:password@example.com/",
    "http://@example.com/",
    "http://example.com@127.0.0.1/",
    "http://example.com:80@127.0.0.1/",
    "http://127.0.0.1\\@example.com/",
    "http://example.com\\.evil.example/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.0.0.1/",
    "http://0177.0.0.1/",
    "http://017700000001/",
    "http://127.1/",
    "http://127.0.1/",
    "http://0/",
    "http://127.0.0.01/",
    "http://127.0.0.1./",
    "http://example.com./",
    "http://1.2.3.4.5/",
    "http://127.0.0.256/",
    "http://[fe80::1%25eth0]/",
    "http://[::1",
    "http://[127.0.0.1]x/",
    "http://exa mple.com/",
    "http://example.com\r\nHost: evil/",
    "http://example.com/\tpath",
    "http://example.com/\x00",
    "http://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460/",
    "http://\uff4c\uff4fcalhost/",
    "http://localhost%00.example.com/",
    "http://127.0.0.1%2f@example.com/",
    "http://-bad-.example/",
    "http://a..b/",
    "http://example.com:0/",
    "http://example.com:65536/",
    "http://example.com:port/",
    "http://" + "a" * 5000 + ".example/",
]


@pytest.mark.parametrize("url", NO_PLAIN_URL)
def test_a_url_that_readers_disagree_about_is_refused(url: str) -> None:
    with pytest.raises(EgressRefused):
        parse_origin(url)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://Example.COM/path?q=1", Origin("http", "example.com", 80)),
        ("https://shard-1.storage_eu.internal:8443", Origin("https", "shard-1.storage_eu.internal", 8443)),
        ("http://[2001:db8::1]:81/", Origin("http", "2001:db8::1", 81)),
        ("http://10.0.0.7/", Origin("http", "10.0.0.7", 80)),
    ],
)
def test_a_plain_url_has_an_origin(url: str, origin: Origin) -> None:
    assert parse_origin(url) == origin


PRIVATE = [
    "127.0.0.1",
    "127.255.255.254",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "198.18.0.1",
    "203.0.113.5",
    "0.0.0.0",  # noqa: S104 - an address to refuse
    "0.1.2.3",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::127.0.0.1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::",
    "64:ff9b::7f00:1",
    "64:ff9b:1::a00:1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "fe80::1",
    "fec0::1",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "2001:db8::1",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_no_address_within_is_reachable_by_default(address: str) -> None:
    assert not EgressPolicy().permits(Origin("http", "shard.example", 80), ip_address(address))


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34"])
def test_public_addresses_are_reachable_unless_they_are_closed(address: str) -> None:
    origin = Origin("https", "example.com", 443)

    assert EgressPolicy().permits(origin, ip_address(address))
    assert not EgressPolicy(public=False).permits(origin, ip_address(address))


def test_a_listed_host_opens_private_addresses_for_its_name_and_port_alone() -> None:
    policy = EgressPolicy.of("shard.internal:8080, cache.internal")

    assert policy.permits(Origin("http", "shard.internal", 8080), ip_address("10.0.0.7"))
    assert policy.permits(Origin("http", "cache.internal", 9), ip_address("127.0.0.1"))
    assert not policy.permits(Origin("http", "shard.internal", 8081), ip_address("10.0.0.7"))
    assert not policy.permits(Origin("http", "other.internal", 8080), ip_address("10.0.0.7"))


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "fe80::1", "100.100.100.200", "fd00:ec2::254", "224.0.0.1", "::"]
)
def test_a_listed_name_never_opens_metadata_or_link_local_addresses(address: str) -> None:
    policy = EgressPolicy.of("shard.internal")

    assert not policy.permits(Origin("http", "shard.internal", 80), ip_address(address))


def test_a_cidr_opens_its_range_for_every_name_and_mapped_form() -> None:
    policy = EgressPolicy.of("10.1.0.0/16,[::1]:9000,127.0.0.1:8000,169.254.1.1")
    origin = Origin("http", "any.example", 80)

    assert policy.permits(origin, ip_address("10.1.255.1"))
    assert policy.permits(origin, ip_address("::ffff:10.1.0.1"))
    assert policy.permits(origin, ip_address("169.254.1.1"))
    assert not policy.permits(origin, ip_address("10.2.0.1"))
    assert policy.permits(Origin("http", "127.0.0.1", 8000), ip_address("127.0.0.1"))
    assert not policy.permits(Origin("http", "127.0.0.1", 8001), ip_address("127.0.0.1"))
    assert policy.permits(Origin("http", "::1", 9000), ip_address("::1"))


def test_multicast_and_broadcast_open_for_nobody() -> None:
    policy = EgressPolicy.of("0.0.0.0/0,::/0")

    assert policy.permits(Origin("http", "x.example", 80), ip_address("10.0.0.1"))
    for address in ("224.0.0.1", "255.255.255.255", "0.0.0.0", "ff02::1", "::"):  # noqa: S104 - an address to refuse
        assert not policy.permits(Origin("http", "x.example", 80), ip_address(address))


def test_a_closed_policy_does_not_even_look_up_other_names() -> None:
    policy = EgressPolicy.of("shard.internal", public=False)

    policy.check_name(Origin("http", "shard.internal", 80))
    with pytest.raises(EgressRefused) as refusal:
        policy.check_name(Origin("http", "example.com", 80))
    assert refusal.value.code == "egress_host_blocked"


@pytest.mark.parametrize(
    "entry", ["http://host", "host:", "host:0", "host:70000", "a b", "10.0.0.0/33", "*.internal", "0x7f.1"]
)
def test_a_bad_entry_stops_the_process_that_reads_it(entry: str) -> None:
    with pytest.raises(ValueError, match="RR_EGRESS_ALLOW"):
        EgressPolicy.of(f"good.example,{entry}")
