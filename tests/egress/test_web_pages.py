"""Which web pages may be asked for, and how their addresses are written."""

import pytest

from tim_server.egress.web_pages import NotAWebAddress, PageRules, web_address
from tim_server.matrix.identifiers import ServerName


@pytest.mark.parametrize(
    ("host", "is_allowed"),
    [
        ("example.org", True),
        ("EXAMPLE.org.", True),
        ("a.b.example.org", True),
        ("example.org:8443", True),
        ("[2606:4700::1]", True),
        ("example.org:22", False),
        ("notexample.org", False),
        ("org", False),
        ("ads.example.org", False),
        ("a.ads.example.org.", False),
        ("[2606:4700::2]:8443", False),
        ("192.0.2.1", False),
    ],
)
async def test_hosts_are_allowed_with_those_below_them(host: str, is_allowed: bool) -> None:
    rules = PageRules(
        hosts_allowed=frozenset({"example.org", "[2606:4700::1]"}),
        hosts_denied=frozenset({"ads.example.org"}),
        ports_allowed=frozenset({443, 8443}),
    )
    verdict = await rules.may_contact(ServerName.parse(host))
    assert verdict.is_allowed == is_allowed
    assert host not in verdict.reason


async def test_without_a_list_all_but_the_denied_are_allowed() -> None:
    rules = PageRules(hosts_denied=frozenset({"denied.example"}))
    assert (await rules.may_contact(ServerName.parse("anything.example"))).is_allowed
    assert not (await rules.may_contact(ServerName.parse("www.denied.example"))).is_allowed


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("https://example.org", "https://example.org"),
        ("HTTPS://Example.ORG:443/#top", "https://example.org/"),
        ("http://example.org/a b?c=d#e", "https://example.org/a%20b?c=d"),
        ("http://example.org:80/", "https://example.org/"),
        ("http://example.org:8080/", "https://example.org:8080/"),
        ("https://bücher.example/ä", "https://xn--bcher-kva.example/%C3%A4"),
        ("https://example.org/a/../b", "https://example.org/b"),
    ],
)
def test_equal_addresses_have_one_form(text: str, address: str) -> None:
    assert web_address(text) == address


@pytest.mark.parametrize(
    "text", ["https://example.org\\@evil.example/", "https://[::1", "https://a:b/", "x", "mxc://a/b"]
)
def test_what_is_no_address_has_no_form(text: str) -> None:
    with pytest.raises(NotAWebAddress):
        web_address(text)
