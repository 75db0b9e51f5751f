"""The rule "If content has a third_party_invite property".

Spec: https://spec.matrix.org/v1.19/server-server-api/#third-party-invites
"""

from dataclasses import replace

import pytest

from tests.matrix.event_auth.rooms import ALICE, ALL_VERSIONS, BOB, MALLORY, make_room, version_name
from tests.matrix.events.factories import KEY, OTHER_KEY
from tim_server.matrix.events.hashes import unpadded_base64
from tim_server.matrix.events.signatures import sign_json
from tim_server.matrix.room_versions import V11
from tim_server.matrix.third_party_invites import SIGNATURE_ATTEMPTS_MAX

every_version = pytest.mark.parametrize("version", ALL_VERSIONS, ids=version_name)
PUBLIC_KEY = unpadded_base64(KEY.verify_key)
OTHER_PUBLIC_KEY = unpadded_base64(OTHER_KEY.verify_key)


def room_with_invite(version=V11, sender=ALICE, **content):
    """A room to which Alice has invited somebody of whom she knows an address."""
    room = make_room(version)
    content = {"display_name": "m…", "public_key": PUBLIC_KEY} | content
    room.set("m.room.third_party_invite", content, sender, "token")
    return room


def signed(key=KEY, **changes):
    """What the identity server signs when the address is bound."""
    content = {"mxid": str(MALLORY), "token": "token"} | changes
    return sign_json({name: value for name, value in content.items() if value is not None}, "id.example", key)


def allows(room, signed_part, sender=ALICE):
    """Whether an invite with this signed part is allowed."""
    invite = {"display_name": "m…", "signed": signed_part}
    return room.allows_member(sender, MALLORY, "invite", third_party_invite=invite)


@every_version
def test_an_invite_that_the_identity_server_has_signed_is_allowed(version):
    assert allows(room_with_invite(version), signed())


@every_version
def test_an_invite_that_another_key_has_signed_is_rejected(version):
    assert not allows(room_with_invite(version), signed(OTHER_KEY))


def test_the_sender_needs_neither_power_nor_membership():
    room = room_with_invite()
    room.set_power(invite=100, users={ALICE: 0})
    room.set_member(ALICE, "leave")
    assert allows(room, signed())


def test_a_banned_user_is_rejected():
    room = room_with_invite()
    room.set_member(MALLORY, "ban", ALICE)
    assert not allows(room, signed())


def test_a_joined_user_is_invited_again_as_the_rules_do_not_forbid_it():
    room = room_with_invite()
    room.set_member(MALLORY, "join")
    assert allows(room, signed())


@pytest.mark.parametrize("invite", [None, 5, {}, {"signed": None}, {"signed": "text"}, {"display_name": "m"}])
def test_an_invite_without_signed_part_is_rejected(invite):
    assert not room_with_invite().allows_member(ALICE, MALLORY, "invite", third_party_invite=invite)


@pytest.mark.parametrize("changes", [{"mxid": None}, {"token": None}, {"mxid": 5}, {"token": 5}])
def test_a_signed_part_without_user_or_token_is_rejected(changes):
    assert not allows(room_with_invite(), signed(**changes))


def test_an_invite_for_another_user_is_rejected():
    assert not allows(room_with_invite(), signed(mxid=str(BOB)))


def test_an_invite_whose_token_is_not_known_is_rejected():
    assert not allows(room_with_invite(), signed(token="another"))


def test_an_invite_of_another_sender_is_rejected():
    assert not allows(room_with_invite(), signed(), sender=BOB)
    assert allows(room_with_invite(sender=BOB), signed(), sender=BOB)


def test_the_invite_must_be_in_the_state():
    assert not allows(make_room(V11), signed())


def test_keys_are_taken_from_public_key_and_public_keys():
    listed = [{"public_key": OTHER_PUBLIC_KEY}, {"public_key": PUBLIC_KEY, "key_validity_url": "x"}]
    assert allows(room_with_invite(public_key=OTHER_PUBLIC_KEY, public_keys=listed), signed())
    assert allows(room_with_invite(public_keys=listed[:1]), signed())
    assert not allows(room_with_invite(public_key=OTHER_PUBLIC_KEY, public_keys=listed[:1]), signed())


def test_keys_may_be_url_safe_base64():
    key = replace(KEY, key=type(KEY.key)(bytes([5] * 32)))
    text = unpadded_base64(key.verify_key)
    assert set(text) & set("+/")
    assert allows(room_with_invite(public_key=text.replace("+", "-").replace("/", "_")), signed(key))


@pytest.mark.parametrize("public_key", [None, 5, "no Base64!", "c2hvcnQ", ""])
@pytest.mark.parametrize("public_keys", [None, 5, "text", [5], [{}], [{"public_key": 5}]])
def test_malformed_keys_are_passed_over(public_key, public_keys):
    assert not allows(room_with_invite(public_key=public_key, public_keys=public_keys), signed())


@pytest.mark.parametrize("signatures", [None, [], {}, {"id.example": None}, {"id.example": {"ed25519:a1": 5}}])
def test_malformed_signatures_are_rejected(signatures):
    assert not allows(room_with_invite(), signed() | {"signatures": signatures})


def test_one_good_signature_among_others_is_enough():
    twice = sign_json(signed(OTHER_KEY), "other.example", KEY)
    assert allows(room_with_invite(), twice)


def test_only_so_many_pairs_of_signature_and_key_are_tried():
    """An invite with thousands of both would keep the server busy for a long time."""
    forged = [{"public_key": OTHER_PUBLIC_KEY}] * (SIGNATURE_ATTEMPTS_MAX - 2)
    good = [{"public_key": PUBLIC_KEY}]
    assert allows(room_with_invite(public_key=OTHER_PUBLIC_KEY, public_keys=forged + good), signed())
    assert not allows(
        room_with_invite(public_key=OTHER_PUBLIC_KEY, public_keys=[*forged, *forged[:1], *good]), signed()
    )
