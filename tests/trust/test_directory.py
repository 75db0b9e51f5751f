"""What a directory must say, and how strictly it is read."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.certificates import NOW
from tests.trust.circle import directory_json, make_directory, make_organisation, organisation_json
from tim_server.matrix.identifiers import ServerName
from tim_server.trust import directory as module
from tim_server.trust.directory import (
    Contact,
    Directory,
    DirectoryRefused,
    Organisation,
    Pin,
    PinnedPart,
    encode_directory,
    parse_directory,
)

DIGEST = "ab" * 32


def with_organisation(**changes):
    return directory_json(organisation_json(**changes))


def test_everything_that_a_directory_says_is_read():
    payload = with_organisation(
        certificates=[{"sha256": DIGEST}, {"public_key_sha256": DIGEST}],
        issuers=[{"public_key_sha256": DIGEST}],
        server_names=["a.example", "chat.a.example:8448", "[2001:db8::1]"],
        contacts=[{"name": "Help desk", "role": "support", "email": "help@a.example", "phone": "+49 30 1"}],
    )
    assert parse_directory(payload).organisations == (
        Organisation(
            id="a",
            name="Hospital a",
            kind="hospital",
            server_names=(ServerName("a.example"), ServerName("chat.a.example:8448"), ServerName("[2001:db8::1]")),
            certificates=(
                Pin(part=PinnedPart.CERTIFICATE, digest=DIGEST),
                Pin(part=PinnedPart.PUBLIC_KEY, digest=DIGEST),
            ),
            issuers=(Pin(part=PinnedPart.PUBLIC_KEY, digest=DIGEST),),
            contacts=(Contact(name="Help desk", role="support", email="help@a.example", phone="+49 30 1"),),
        ),
    )


def test_what_is_optional_may_be_missing_null_or_empty():
    for nothing in (None, []):
        (organisation,) = parse_directory(with_organisation(issuers=nothing, contacts=nothing)).organisations
        assert organisation.issuers == organisation.contacts == ()
    (organisation,) = parse_directory(with_organisation(contacts=[{}, {"name": "x", "email": None}])).organisations
    assert organisation.contacts == (Contact(), Contact(name="x"))


def test_unknown_keys_are_tolerated_at_each_level():
    payload = directory_json(
        organisation_json(
            legal_form="trust", certificates=[{"sha256": DIGEST, "note": "old"}], contacts=[{"name": "x", "fax": "1"}]
        ),
        region="north",
    )
    assert parse_directory(payload).organisations[0].id == "a"


def test_a_directory_without_members_is_one():
    assert parse_directory(directory_json(organisations=[])).organisations == ()


def test_an_issuer_alone_is_enough_to_know_a_server_by():
    payload = with_organisation(certificates=None, issuers=[{"sha256": DIGEST}])
    assert parse_directory(payload).organisations[0].certificates == ()


BAD_DIRECTORIES = {
    "not JSON": b"{",
    "not an object": b"[]",
    "a fraction": directory_json(version=7.0),
    "no version": directory_json(version=None),
    "a version that is a text": directory_json(version="7"),
    "a version that is a truth": directory_json(version=True),
    "version 0": directory_json(version=0),
    "a version beyond 2^53": directory_json(version=2**53),
    "no issued": directory_json(issued=None),
    "no expires": directory_json(expires=None),
    "a time without a zone": directory_json(issued="2026-11-25T08:00:00"),
    "a time of another zone": directory_json(issued="2026-11-25T08:00:00+01:00"),
    "a time that is a number": directory_json(issued=1_700_000_000),
    "a day that does not exist": directory_json(issued="2026-02-30T08:00:00Z"),
    "digits of another script": directory_json(issued="２０２６-11-25T08:00:00Z"),
    "an end before the beginning": directory_json(expires="2020-01-01T00:00:00Z"),
    "no organisations": directory_json(organisations=None),
    "organisations by id": directory_json(organisations={"a": organisation_json()}),
    "an organisation that is a text": directory_json("a"),
    "two of the same id": directory_json(organisation_json(), organisation_json(server_names=["b.example"])),
    "a server listed twice": directory_json(organisation_json(), organisation_json(id="b", server_names=["A.EXAMPLE"])),
    "a server listed twice by one": with_organisation(server_names=["a.example", "a.example"]),
    "nested too deeply": b'{"a":' * 300 + b"1" + b"}" * 300,
    "invalid UTF-8": b'{"a": "\xff"}',
}

BAD_ORGANISATIONS = {
    "no id": {"id": None},
    "an empty id": {"id": ""},
    "an id with spaces": {"id": "a b"},
    "an id that is too long": {"id": "a" * 129},
    "no name": {"name": None},
    "a blank name": {"name": "  "},
    "a name that is too long": {"name": "n" * 501},
    "a name with an escape sequence": {"name": "a\x1b[2J"},
    "a name in two lines": {"name": "a\nb"},
    "a name written backwards": {"name": "a\u202eb"},
    "no kind": {"kind": None},
    "a kind in capitals": {"kind": "Hospital"},
    "no server names": {"server_names": None},
    "an empty list of server names": {"server_names": []},
    "a server name that is a number": {"server_names": [1]},
    "a server name with a path": {"server_names": ["a.example/x"]},
    "a wildcard": {"server_names": ["*.example"]},
    "too many server names": {"server_names": [f"s{number}.example" for number in range(101)]},
    "neither certificates nor issuers": {"certificates": None},
    "empty certificates": {"certificates": []},
    "a pin that is a text": {"certificates": [DIGEST]},
    "a pin of nothing": {"certificates": [{}]},
    "a pin of two parts": {"certificates": [{"sha256": DIGEST, "public_key_sha256": DIGEST}]},
    "a pin in capitals": {"certificates": [{"sha256": DIGEST.upper()}]},
    "a pin that is too short": {"certificates": [{"sha256": DIGEST[:-1]}]},
    "a pin of another hash": {"certificates": [{"sha1": "ab" * 20}]},
    "too many pins": {"certificates": [{"sha256": DIGEST}] * 51},
    "an issuer that is a name": {"issuers": ["CN=root"]},
    "contacts that are a text": {"contacts": "help@a.example"},
    "a contact that is a text": {"contacts": ["help@a.example"]},
    "a contact's name that is a number": {"contacts": [{"name": 1}]},
    "too many contacts": {"contacts": [{}] * 21},
}


@pytest.mark.parametrize("payload", BAD_DIRECTORIES.values(), ids=BAD_DIRECTORIES)
def test_a_directory_that_is_not_right_is_refused(payload):
    with pytest.raises(DirectoryRefused):
        parse_directory(payload)


@pytest.mark.parametrize("changes", BAD_ORGANISATIONS.values(), ids=BAD_ORGANISATIONS)
def test_one_organisation_that_is_not_right_refuses_the_directory(changes):
    good = organisation_json(id="z", server_names=["z.example"])
    with pytest.raises(DirectoryRefused):
        parse_directory(directory_json(good, organisation_json(**changes)))


def test_the_reason_says_where_it_is_wrong():
    with pytest.raises(DirectoryRefused, match=r"name of organisations\[0\] is not a text"):
        parse_directory(with_organisation(name=7))
    with pytest.raises(DirectoryRefused, match=r"organisations\[0\] has no kind"):
        parse_directory(with_organisation(kind=None))


def test_too_many_organisations_are_refused(monkeypatch):
    monkeypatch.setattr(module, "ORGANISATIONS_MAX", 1)
    with pytest.raises(DirectoryRefused, match="at most 1"):
        parse_directory(directory_json(organisation_json(), organisation_json(id="b", server_names=["b.example"])))


@pytest.mark.parametrize("asked", ["a.example", "A.Example", "A.EXAMPLE"])
def test_upper_and_lower_case_are_the_same_server(asked):
    found = make_directory().organisation_of(ServerName(asked))
    assert found is not None and found.id == "a"


@pytest.mark.parametrize("asked", ["b.example", "a.example:8448", "a.example.", "sub.a.example", "example"])
def test_another_name_or_port_is_another_server(asked):
    assert make_directory().organisation_of(ServerName(asked)) is None


TEXTS = st.text(st.characters(codec="utf-8", categories=("L", "N", "P")), min_size=1, max_size=20)
NAMES = st.from_regex(r"[a-z]{1,8}\.example(:[0-9]{1,4})?", fullmatch=True).map(ServerName)
PINS = st.builds(Pin, part=st.sampled_from(PinnedPart), digest=st.just(DIGEST))
CONTACTS = st.builds(Contact, name=st.none() | TEXTS, role=TEXTS, email=st.none() | TEXTS, phone=st.none())


@st.composite
def directories(draw) -> Directory:
    names = draw(st.lists(NAMES, min_size=1, max_size=6, unique=True))
    organisations = tuple(
        make_organisation(
            f"org-{index}",
            name=draw(TEXTS),
            server_names=(name,),
            certificates=tuple(draw(st.lists(PINS, min_size=1, max_size=3))),
            issuers=tuple(draw(st.lists(PINS, max_size=2))),
            contacts=tuple(draw(st.lists(CONTACTS, max_size=2))),
        )
        for index, name in enumerate(names)
    )
    return make_directory(*organisations, version=draw(st.integers(1, 2**53 - 1)))


@given(directories())
def test_a_directory_that_is_written_is_read_as_the_same(directory):
    assert parse_directory(encode_directory(directory)) == directory


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["version", "issued", "expires", "organisations", "x"]), JSON), JSON)
def test_any_json_is_refused_or_read_without_a_surprise(changes, organisation):
    value = {**json.loads(directory_json()), "organisations": [organisation], **changes}
    try:
        parse_directory(json.dumps(value).encode())
    except DirectoryRefused as refusal:
        assert len(str(refusal)) < 700


@given(directories(), st.sampled_from(["id", "name", "kind", "server_names", "certificates"]))
def test_no_required_key_may_be_missing(directory, key):
    value = json.loads(encode_directory(directory))
    del value["organisations"][0][key]
    if key == "certificates":
        value["organisations"][0]["issuers"] = []
    with pytest.raises(DirectoryRefused):
        parse_directory(json.dumps(value).encode())


def test_times_are_written_in_utc_to_the_second():
    issued = datetime(2026, 11, 25, 9, 30, 15, 999_999, tzinfo=UTC)
    written = json.loads(encode_directory(make_directory(issued=issued, expires=NOW + timedelta(days=400))))
    assert written["issued"] == "2026-11-25T09:30:15Z"
