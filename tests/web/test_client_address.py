"""Forwarded addresses are believed as far as trusted proxies wrote them."""

import time

import pytest
from multidict import CIMultiDict

from tim_server.web.client_address import Origin, TrustedProxies

PROXIES = TrustedProxies(["10.0.0.0/8", "fd00::/8"])


@pytest.mark.parametrize(
    ("peer", "headers", "address"),
    [
        ("192.0.2.1", {"X-Forwarded-For": "198.51.100.7"}, "192.0.2.1"),
        ("10.0.0.1", {}, "10.0.0.1"),
        ("10.0.0.1", {"X-Forwarded-For": "198.51.100.7"}, "198.51.100.7"),
        ("10.0.0.1", {"X-Forwarded-For": "6.6.6.6, 198.51.100.7"}, "198.51.100.7"),
        ("10.0.0.1", {"X-Forwarded-For": "6.6.6.6, 198.51.100.7, 10.2.3.4"}, "198.51.100.7"),
        ("10.0.0.1", {"X-Forwarded-For": "10.9.9.9,10.2.3.4"}, "10.9.9.9"),
        ("10.0.0.1", {"X-Forwarded-For": "198.51.100.7:4711"}, "198.51.100.7"),
        ("10.0.0.1", {"X-Forwarded-For": "[2001:db8::1]:4711"}, "2001:db8::1"),
        ("10.0.0.1", {"X-Forwarded-For": "6.6.6.6, nonsense"}, "10.0.0.1"),
        ("::ffff:10.0.0.1", {"X-Forwarded-For": "198.51.100.7"}, "198.51.100.7"),
        ("fd00::1", {"X-Forwarded-For": "2001:db8::1"}, "2001:db8::1"),
        ("", {"X-Forwarded-For": "198.51.100.7"}, "198.51.100.7"),
        ("10.0.0.1", {"Forwarded": "for=6.6.6.6", "X-Forwarded-For": "198.51.100.7"}, "198.51.100.7"),
        ("10.0.0.1", {"Forwarded": "for=6.6.6.6"}, "10.0.0.1"),
    ],
)
def test_the_client_is_the_rightmost_address_that_is_no_trusted_proxy(peer, headers, address):
    assert PROXIES.origin(peer, CIMultiDict(headers), is_tls=False).address == address


@pytest.mark.parametrize(
    ("headers", "address"),
    [
        ({"Forwarded": 'for="[2001:db8::1]:47";proto=https, for=10.1.1.1'}, "2001:db8::1"),
        ({"Forwarded": 'for="6.6.6.6, 7.7.7.7", for=198.51.100.7;by=10.0.0.1'}, "198.51.100.7"),
        ({"Forwarded": 'for="6.6.6.6, For = "198.51.100.7"'}, "198.51.100.7"),
        ({"Forwarded": "for=6.6.6.6, proto=https"}, "10.0.0.1"),
        ({"Forwarded": "for=198.51.100.7", "X-Forwarded-For": "6.6.6.6"}, "198.51.100.7"),
        ({"X-Forwarded-For": "6.6.6.6"}, "10.0.0.1"),
    ],
)
def test_where_proxies_write_forwarded_only_that_is_read(headers, address):
    proxies = TrustedProxies(["10.0.0.0/8"], reads_forwarded=True)
    assert proxies.origin("10.0.0.1", CIMultiDict(headers), is_tls=False).address == address


@pytest.mark.parametrize("text", ["a" * 16_000, " " * 16_000, '"\\' * 8_000, "a=;" * 5_000])
def test_a_long_header_is_read_quickly(text):
    started = time.perf_counter()
    TrustedProxies(["10.0.0.0/8"], reads_forwarded=True).origin(
        "10.0.0.1", CIMultiDict({"Forwarded": text}), is_tls=False
    )
    assert time.perf_counter() - started < 0.1


@pytest.mark.parametrize(
    ("peer", "is_tls", "headers", "scheme"),
    [
        ("192.0.2.1", False, {"X-Forwarded-Proto": "https"}, "http"),
        ("192.0.2.1", True, {}, "https"),
        ("10.0.0.1", False, {"X-Forwarded-Proto": "https"}, "https"),
        ("10.0.0.1", False, {"X-Forwarded-Proto": "gopher"}, "http"),
    ],
)
def test_the_scheme_is_forwarded_by_trusted_proxies_only(peer, is_tls, headers, scheme):
    assert PROXIES.origin(peer, CIMultiDict(headers), is_tls=is_tls).scheme == scheme


def test_forwarded_tells_the_scheme_where_proxies_write_it():
    headers = CIMultiDict({"Forwarded": "for=1.2.3.4;proto=https"})
    proxies = TrustedProxies(["10.0.0.0/8"], reads_forwarded=True)
    assert proxies.origin("10.0.0.1", headers, is_tls=False).scheme == "https"


def test_without_trusted_networks_nothing_is_believed():
    headers = CIMultiDict({"X-Forwarded-For": "198.51.100.7"})
    assert TrustedProxies([]).origin("127.0.0.1", headers, is_tls=False) == Origin("127.0.0.1", "http", False)


def test_a_line_of_its_own_that_the_proxy_adds_counts_more_than_the_clients_line():
    headers = CIMultiDict([("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-For", "198.51.100.7")])
    assert PROXIES.origin("10.0.0.1", headers, is_tls=False).address == "198.51.100.7"
