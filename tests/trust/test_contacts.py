"""Who may talk to whom: by name before a connection, and by certificate over it."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.certificates import HOUR, NOW
from tests.trust.circle import make_directory, make_organisation
from tim_server.matrix.identifiers import ServerName
from tim_server.trust.contacts import TrustView, judge_contact, judge_name, listing_of
from tim_server.trust.organisation_certificate import OrganisationCertificate
from tim_server.trust.profiles import DIRECTORY, OPEN, RULES, Profile

OWN = ServerName("own.example")
A = ServerName("a.example")
STRANGER = ServerName("stranger.example")
LISTING = make_directory()
CLOSED = TrustView(own_name=OWN, rules=DIRECTORY, directories=(LISTING,))
OPENED = TrustView(own_name=OWN, rules=OPEN)


def certificate(server_name: str = "a.example", organisation_id: str = "a", holds_until=NOW + HOUR):
    return OrganisationCertificate(
        server_name=ServerName(server_name), organisation_id=organisation_id, sha256="0" * 64, holds_until=holds_until
    )


@pytest.mark.parametrize(
    ("server_name", "is_allowed", "reason"),
    [
        ("a.example", True, "a.example is listed under a in version 7 of the directory"),
        ("A.EXAMPLE", True, "A.EXAMPLE is listed under a in version 7 of the directory"),
        ("a.example:8448", False, "no directory lists a.example:8448"),
        ("stranger.example", False, "no directory lists stranger.example"),
        ("own.example", True, "own.example is this server"),
        ("OWN.example", True, "OWN.example is this server"),
        ("own.example:8448", False, "no directory lists own.example:8448"),
    ],
)
def test_a_server_that_no_directory_lists_is_not_talked_to(server_name, is_allowed, reason):
    verdict = judge_name(ServerName(server_name), CLOSED)
    assert (verdict.is_allowed, verdict.reason) == (is_allowed, reason)


def test_without_a_directory_nobody_is_talked_to():
    verdict = judge_name(A, TrustView(own_name=OWN, rules=DIRECTORY))
    assert not verdict.is_allowed
    assert verdict.reason == "there is no directory yet that could list a.example"


def test_the_open_profile_talks_to_everybody():
    assert judge_name(STRANGER, OPENED).is_allowed
    assert judge_contact(STRANGER, OPENED, None, NOW).is_allowed


def test_any_of_several_directories_may_list_a_server():
    other = make_directory(make_organisation("b"))
    directories = (other, LISTING)
    assert judge_name(A, TrustView(own_name=OWN, rules=DIRECTORY, directories=directories)).is_allowed
    assert listing_of(ServerName("b.example"), directories) == (other, other.organisations[0])
    assert listing_of(STRANGER, directories) is None


def test_a_listed_server_with_its_certificate_is_talked_to():
    verdict = judge_contact(A, CLOSED, certificate(), NOW)
    assert verdict.is_allowed
    assert verdict.reason == ("a.example is listed under a in version 7 of the directory, and its certificate verifies")


@pytest.mark.parametrize(
    ("server_name", "shown", "reason"),
    [
        (A, None, "has not shown a certificate"),
        (A, certificate("b.example"), "is that of b.example"),
        (A, certificate("a.example:8448"), "is that of a.example:8448"),
        (A, certificate(holds_until=NOW - timedelta(seconds=1)), "verified again"),
        (A, certificate(organisation_id="b"), "another organisation"),
        (STRANGER, certificate("stranger.example", "stranger"), "no directory lists"),
    ],
)
def test_a_server_that_does_not_prove_who_it_is_is_not_talked_to(server_name, shown, reason):
    verdict = judge_contact(server_name, CLOSED, shown, NOW)
    assert not verdict.is_allowed
    assert reason in verdict.reason


def test_the_server_itself_needs_no_certificate():
    assert judge_contact(OWN, CLOSED, None, NOW).is_allowed


NAMES = st.sampled_from(["a.example", "A.example", "b.example", "a.example:1", "own.example"]).map(ServerName)


@given(NAMES, st.none() | st.builds(certificate, NAMES, st.sampled_from(["a", "b"])))
def test_nobody_but_a_listed_server_with_its_own_certificate_is_ever_talked_to(server_name, shown):
    if not judge_contact(server_name, CLOSED, shown, NOW).is_allowed:
        return
    is_proved = shown is not None and shown.server_name.lower() == server_name.lower() and shown.organisation_id == "a"
    assert server_name == OWN or (server_name.lower() == A and is_proved)


def test_each_profile_that_there_is_has_rules_and_the_others_have_none():
    assert set(RULES) == {Profile.OPEN, Profile.DIRECTORY}
    assert {profile.value for profile in Profile} == {"open", "directory", "tim-pro", "tim-epa", "timplus", "hipaa"}
