"""Identifiers have the forms of the specification's appendix, and nothing else gets in.

Spec: https://spec.matrix.org/v1.19/appendices/#common-identifier-format
"""

import pytest

from tim_server.matrix.identifiers import EventId, InvalidIdentifier, RoomAlias, RoomId, ServerName, UserId

HASH = "A" * 42 + "_"


@pytest.mark.parametrize(
    "text", ["a.example", "a.example:8448", "1.2.3.4", "1.2.3.4:1", "[::1]", "[2001:db8::1]:8448", "localhost", "A-1.b"]
)
def test_server_names(text):
    assert ServerName.parse(text) == text


@pytest.mark.parametrize(
    ("name", "host", "has_port", "is_ip_literal"),
    [
        ("a.example", "a.example", False, False),
        ("A.example:8448", "A.example", True, False),
        ("10.0.0.1", "10.0.0.1", False, True),
        ("10.0.0.1:8448", "10.0.0.1", True, True),
        ("999.0.0.1", "999.0.0.1", False, False),
        ("[2001:db8::1]", "[2001:db8::1]", False, True),
        ("[::1]:99", "[::1]", True, True),
        ("[...]", "[...]", False, False),
    ],
)
def test_a_server_name_is_a_host_and_perhaps_a_port(name, host, has_port, is_ip_literal):
    parsed = ServerName.parse(name)
    assert (parsed.host, parsed.has_port, parsed.is_ip_literal) == (host, has_port, is_ip_literal)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a_b.example",
        "a.example:",
        "a.example:123456",
        "a.example:٨٤٤٨",
        "١.2.3.4",
        "a.example\n",
        "a example",
        "ä.example",
        "::1",
        "[::1",
        "[g::1]",
        "a" * 256,
    ],
)
def test_what_is_no_server_name(text):
    with pytest.raises(InvalidIdentifier):
        ServerName.parse(text)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (UserId, "@alice:a.example"),
        (UserId, "@:a.example"),
        (UserId, "@Älice:a.example:8448"),
        (RoomId, "!ward:a.example"),
        (RoomId, "!" + HASH),
        (EventId, "$" + HASH),
        (EventId, "$1:a.example"),
        (RoomAlias, "#ward:a.example"),
        (UserId, "@" + "a" * 244 + ":a.example"),
    ],
)
def test_identifiers(kind, text):
    assert kind.parse(text) == text


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (UserId, "alice:a.example"),
        (UserId, "@alice"),
        (UserId, "@alice:"),
        (UserId, "@alice:a.example\n"),
        (UserId, "@al\0ice:a.example"),
        (UserId, "@\ud800:a.example"),
        (UserId, "@" + "a" * 245 + ":a.example"),
        (UserId, "@" + "ä" * 123 + ":a.example"),
        (RoomId, "!:a.example"),
        (RoomId, "!" + HASH[1:]),
        (RoomId, "#ward:a.example"),
        (EventId, "$"),
        (EventId, "$1:a b"),
        (RoomAlias, "#ward"),
    ],
)
def test_what_is_no_identifier(kind, text):
    with pytest.raises(InvalidIdentifier):
        kind.parse(text)
