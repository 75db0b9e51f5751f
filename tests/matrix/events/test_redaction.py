"""Redaction: which keys survive, for each room version that changed it.

Spec: https://spec.matrix.org/v1.19/client-server-api/#redactions
"""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.matrix.events.factories import ALL_VERSIONS, version_name
from tim_server.matrix.events.redaction import redact, redact_content
from tim_server.matrix.room_versions import V1, V5, V6, V7, V8, V9, V10, V11, V12

BEFORE_V11 = ALL_VERSIONS[:10]
SINCE_V11 = ALL_VERSIONS[10:]
TYPES = [
    "m.room.member",
    "m.room.create",
    "m.room.join_rules",
    "m.room.power_levels",
    "m.room.aliases",
    "m.room.history_visibility",
    "m.room.redaction",
    "m.room.message",
]
CONTENT_KEYS = [
    "membership",
    "creator",
    "join_rule",
    "allow",
    "join_authorised_via_users_server",
    "third_party_invite",
    "users",
    "invite",
    "notifications",
    "aliases",
    "history_visibility",
    "redacts",
    "body",
]
ALWAYS = [
    "event_id",
    "type",
    "room_id",
    "sender",
    "state_key",
    "hashes",
    "signatures",
    "depth",
    "prev_events",
    "auth_events",
    "origin_server_ts",
]
PROTECTED_BEFORE_V11 = ["prev_state", "origin", "membership"]

contents = st.dictionaries(
    st.sampled_from(CONTENT_KEYS), st.just({"signed": 1, "display_name": "B"}) | st.integers() | st.none()
)
pdus = st.fixed_dictionaries(
    {"type": st.sampled_from(TYPES), "content": contents},
    optional={key: st.integers() for key in [*ALWAYS[2:], *PROTECTED_BEFORE_V11, "unsigned", "redacts", "extra"]},
)


@given(pdus, st.sampled_from(ALL_VERSIONS))
def test_redaction_is_idempotent(pdu, version):
    once = redact(pdu, version)
    assert redact(once, version) == once


@given(pdus, st.sampled_from(ALL_VERSIONS))
def test_redaction_takes_away_and_changes_nothing_of_its_input(pdu, version):
    before = copy.deepcopy(pdu)
    redacted = redact(pdu, version)
    assert pdu == before
    assert redacted.keys() <= pdu.keys()
    assert redacted["content"].keys() <= pdu["content"].keys()


@pytest.mark.parametrize("version", ALL_VERSIONS, ids=version_name)
def test_top_level_keys_that_survive_in_every_version(version):
    pdu = {**dict.fromkeys(ALWAYS, "x"), "content": {}, "redacts": "x", "unsigned": {}, "age_ts": 1, "extra": 1}
    assert redact(pdu, version).keys() == {*ALWAYS, "content"}


@pytest.mark.parametrize("version", ALL_VERSIONS, ids=version_name)
def test_origin_membership_and_prev_state_survive_until_v10(version):
    pdu = {"type": "m.room.message", "content": {}, **dict.fromkeys(PROTECTED_BEFORE_V11, "x")}
    kept = set(PROTECTED_BEFORE_V11) & redact(pdu, version).keys()
    assert kept == (set(PROTECTED_BEFORE_V11) if version in BEFORE_V11 else set())


POWER = ["ban", "events", "events_default", "kick", "redact", "state_default", "users", "users_default"]


@pytest.mark.parametrize(
    ("version", "event_type", "kept"),
    [
        *[(version, "m.room.message", []) for version in ALL_VERSIONS],
        *[(version, "org.example.custom", []) for version in ALL_VERSIONS],
        *[(version, "m.room.history_visibility", ["history_visibility"]) for version in ALL_VERSIONS],
        *[(version, "m.room.member", ["membership"]) for version in (V1, V7, V8)],
        *[(version, "m.room.member", ["membership", "join_authorised_via_users_server"]) for version in (V9, V10)],
        *[(version, "m.room.create", ["creator"]) for version in BEFORE_V11],
        *[(version, "m.room.create", CONTENT_KEYS) for version in SINCE_V11],
        *[(version, "m.room.join_rules", ["join_rule"]) for version in (V1, V6, V7)],
        *[(version, "m.room.join_rules", ["join_rule", "allow"]) for version in (V8, V9, V10, V11, V12)],
        *[(version, "m.room.power_levels", ["users"]) for version in BEFORE_V11],
        *[(version, "m.room.power_levels", ["users", "invite"]) for version in SINCE_V11],
        *[(version, "m.room.aliases", ["aliases"]) for version in (V1, V5)],
        *[(version, "m.room.aliases", []) for version in (V6, V7, V11, V12)],
        *[(version, "m.room.redaction", []) for version in BEFORE_V11],
        *[(version, "m.room.redaction", ["redacts"]) for version in SINCE_V11],
    ],
)
def test_content_keys_that_survive(version, event_type, kept):
    content = dict.fromkeys(CONTENT_KEYS, "x")
    assert redact_content(event_type, content, version) == dict.fromkeys(kept, "x")


@pytest.mark.parametrize("version", ALL_VERSIONS, ids=version_name)
def test_all_levels_of_power_survive(version):
    content = dict.fromkeys([*POWER, "notifications"], 1)
    assert redact_content("m.room.power_levels", content, version) == dict.fromkeys(POWER, 1)


@pytest.mark.parametrize("version", ALL_VERSIONS, ids=version_name)
def test_only_the_signed_part_of_a_third_party_invite_survives_since_v11(version):
    content = {"membership": "invite", "third_party_invite": {"display_name": "B…", "signed": {"token": "t"}}}
    kept = redact_content("m.room.member", content, version)
    since_v11 = {"membership": "invite", "third_party_invite": {"signed": {"token": "t"}}}
    assert kept == (since_v11 if version in SINCE_V11 else {"membership": "invite"})


def test_a_third_party_invite_without_signed_leaves_an_empty_object_and_one_that_is_no_object_nothing():
    assert redact_content("m.room.member", {"third_party_invite": {"display_name": "B"}}, V11) == {
        "third_party_invite": {}
    }
    assert redact_content("m.room.member", {"third_party_invite": "B"}, V11) == {}


@pytest.mark.parametrize("pdu", [{"type": "m.room.create"}, {"type": 5, "content": {"a": 1}}, {"content": [1]}])
def test_malformed_events_lose_their_content(pdu):
    assert redact(pdu, V11)["content"] == {}
