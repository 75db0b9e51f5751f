"""Only public addresses may be connected to, however they are written, and what the tenant allows."""

import pytest

from tim_server.egress.addresses import AddressPolicy

REFUSED = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "127.0.0.1", "127.255.0.1", "169.254.169.254",
    "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.168.1.1", "198.18.0.1", "198.51.100.1",
    "203.0.113.1", "224.0.0.1", "239.1.2.3", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::1",
    "2002:7f00:1::", "2002:a00:1::1", "2001:0:1::1", "2001:db8::1", "fc00::1", "fd12::1", "fe80::1", "fe80::1%eth0",
    "fec0::1", "ff02::1", "100::1",
]  # fmt: skip
ALLOWED = [
    "1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1", "193.0.0.1", "223.255.255.255",
    "2606:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1",
]  # fmt: skip


@pytest.mark.parametrize("address", REFUSED)
def test_special_addresses_are_refused(address):
    assert not AddressPolicy().allows(address)


@pytest.mark.parametrize("address", ALLOWED)
def test_public_addresses_are_allowed(address):
    assert AddressPolicy().allows(address)


@pytest.mark.parametrize("text", ["", "example.org", "127.1", "2130706433", "0x7f.1", "1.1.1.1:80"])
def test_what_is_no_address_is_refused(text):
    assert not AddressPolicy().allows(text)


def test_the_tenant_may_allow_networks_and_no_more():
    policy = AddressPolicy(["10.1.0.0/16", "fd00:1::/32"])
    assert policy.allows("10.1.2.3")
    assert policy.allows("::ffff:10.1.2.3")
    assert policy.allows("fd00:1::5")
    assert not policy.allows("10.2.0.1")
    assert not policy.allows("fd00:2::5")
    assert not policy.allows("127.0.0.1")
