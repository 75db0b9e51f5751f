"""The rule "If type is m.room.member".

Spec: https://spec.matrix.org/v1.19/rooms/v12/#authorization-rules
"""

from tim_server.matrix.errors import EventRejected
from tim_server.matrix.event_auth.power_levels import PowerLevels, creators_of
from tim_server.matrix.event_auth.selection import CREATE, JOIN_RULES, StateMap
from tim_server.matrix.events.record import Event
from tim_server.matrix.room_versions import RoomVersion
from tim_server.matrix.third_party_invites import key_that_signed


def membership_of(state: StateMap, user_id: str) -> str:
    """The membership that the state gives a user; `leave` where it says nothing."""
    event = state.get(("m.room.member", str(user_id)))
    membership = None if event is None else event.content.get("membership")
    return membership if isinstance(membership, str) else "leave"


def join_rule_of(state: StateMap) -> str:
    """The room's join rule; `invite` where the state says nothing."""
    event = state.get(JOIN_RULES)
    rule = None if event is None else event.content.get("join_rule")
    return rule if isinstance(rule, str) else "invite"


def check_membership(event: Event, state: StateMap, power: PowerLevels, version: RoomVersion) -> None:
    """Rule 5 of v12 (4 in v6–v11, 5 in v1–v5). Raises `EventRejected`.

    That the server of `join_authorised_via_users_server` has signed (5.2, since v8) is checked with the signatures.
    """
    membership = event.content.get("membership")
    # 5.1: "If there is no state_key property, or no membership property in content, reject."
    if event.state_key is None or not isinstance(membership, str):
        raise EventRejected("a member event has a state_key and a membership")
    if membership == "join":
        _check_join(event, state, power, version)
    elif membership == "invite":
        _check_invite(event, state, power)
    elif membership == "leave":
        _check_leave(event, state, power, version)
    elif membership == "ban":
        _check_ban(event, state, power)
    elif membership == "knock" and version.knock_join_rule:
        _check_knock(event, state, version)
    else:
        # 5.8: "Otherwise, the membership is unknown. Reject."
        raise EventRejected("the membership is unknown")


def _check_join(event: Event, state: StateMap, power: PowerLevels, version: RoomVersion) -> None:
    """5.3: "If membership is join"."""
    assert event.state_key is not None
    create = state[CREATE]
    # 5.3.1: "If the only previous event is an m.room.create and the state_key is the creator, allow." Since v11 the
    # creator is the sender of the create event.
    founder = {create.sender} if version.privileged_creators else creators_of(create)
    if event.prev_events == (create.event_id,) and event.state_key in founder:
        return
    # 5.3.2: "If the sender does not match state_key, reject."
    if event.sender != event.state_key:
        raise EventRejected("a user can't join for another")
    current = membership_of(state, event.state_key)
    # 5.3.3: "If the sender is banned, reject."
    if current == "ban":
        raise EventRejected("the user is banned")
    rule = join_rule_of(state)
    # 5.3.6: "If the join_rule is public, allow."
    if rule == "public":
        return
    # 5.3.4: "If the join_rule is invite or knock then allow if membership state is invite or join." knock since v7.
    # 5.3.5: restricted (since v8) and knock_restricted (since v10): "If membership state is join or invite, allow."
    is_restricted = _is_restricted(rule, version)
    follows_invite = rule == "invite" or (rule == "knock" and version.knock_join_rule) or is_restricted
    if follows_invite and current in ("invite", "join"):
        return
    # "If the join_authorised_via_users_server key in content is not a user with sufficient permission to invite other
    # users or is not a joined member of the room, reject. Otherwise, allow."
    if is_restricted:
        _check_authorised_via(event, state, power)
        return
    # 5.3.7: "Otherwise, reject."
    raise EventRejected("the user is not invited, and the room is not public")


def _is_restricted(rule: str, version: RoomVersion) -> bool:
    return (rule == "restricted" and version.restricted_join_rule) or (
        rule == "knock_restricted" and version.knock_restricted_join_rule
    )


def _check_authorised_via(event: Event, state: StateMap, power: PowerLevels) -> None:
    authorised_via = event.content.get("join_authorised_via_users_server")
    if not isinstance(authorised_via, str) or membership_of(state, authorised_via) != "join":
        raise EventRejected("nobody who is joined has authorised the restricted join")
    if power.user_level(authorised_via) < power.invite:
        raise EventRejected("who authorised the restricted join has not the power to invite")


def _check_invite(event: Event, state: StateMap, power: PowerLevels) -> None:
    """5.4: "If membership is invite"."""
    assert event.state_key is not None
    # 5.4.1: "If content has a third_party_invite property".
    if "third_party_invite" in event.content:
        _check_third_party_invite(event, state)
        return
    # 5.4.2: "If the sender's current membership state is not join, reject."
    if membership_of(state, event.sender) != "join":
        raise EventRejected("who invites is not joined to the room")
    # 5.4.3: "If target user's current membership state is join or ban, reject."
    current = membership_of(state, event.state_key)
    if current in ("join", "ban"):
        raise EventRejected("the invited user is banned" if current == "ban" else "the invited user is joined already")
    # 5.4.4: "If the sender's power level is greater than or equal to the invite level, allow. Otherwise, reject."
    if power.user_level(event.sender) < power.invite:
        raise EventRejected("the sender has not the power to invite")


def _check_third_party_invite(event: Event, state: StateMap) -> None:
    """5.4.1: an invite that follows a third-party invite."""
    # "If target user is banned, reject."
    if membership_of(state, event.state_key or "") == "ban":
        raise EventRejected("the invited user is banned")
    invite = event.content["third_party_invite"]
    signed = invite.get("signed") if isinstance(invite, dict) else None
    # "If content.third_party_invite does not have a signed property, reject. If signed does not have mxid and token
    # properties, reject. If mxid does not match state_key, reject."
    if not isinstance(signed, dict) or not isinstance(signed.get("token"), str):
        raise EventRejected("the third-party invite is not signed")
    if signed.get("mxid") != event.state_key:
        raise EventRejected("the third-party invite is for another user")
    # "If there is no m.room.third_party_invite event in the current room state with state_key matching token, reject.
    # If sender does not match sender of the m.room.third_party_invite, reject."
    original = state.get(("m.room.third_party_invite", signed["token"]))
    if original is None or original.sender != event.sender:
        raise EventRejected("the third-party invite is not known, or another user's")
    # "If any signature in signed matches any public key in the m.room.third_party_invite event, allow. Otherwise,
    # reject."
    if key_that_signed(signed, original.content) is None:
        raise EventRejected("no signature of the third-party invite verifies")


def _check_leave(event: Event, state: StateMap, power: PowerLevels, version: RoomVersion) -> None:
    """5.5: "If membership is leave"."""
    assert event.state_key is not None
    # 5.5.1: "If the sender matches state_key, allow if and only if that user's current membership state is invite,
    # join, or knock." knock since v7.
    if event.sender == event.state_key:
        may_leave = ("invite", "join", "knock") if version.knock_join_rule else ("invite", "join")
        if membership_of(state, event.sender) not in may_leave:
            raise EventRejected("the user is not in the room")
        return
    # 5.5.2: "If the sender's current membership state is not join, reject."
    if membership_of(state, event.sender) != "join":
        raise EventRejected("the sender is not joined to the room")
    sender_level = power.user_level(event.sender)
    # 5.5.3: "If the target user's current membership state is ban, and the sender's power level is less than the ban
    # level, reject."
    if membership_of(state, event.state_key) == "ban" and sender_level < power.ban:
        raise EventRejected("the sender has not the power to unban")
    # 5.5.4: "If the sender's power level is greater than or equal to the kick level, and the target user's power level
    # is less than the sender's power level, allow. Otherwise, reject."
    if sender_level < power.kick or power.user_level(event.state_key) >= sender_level:
        raise EventRejected("the sender has not the power to remove this user")


def _check_ban(event: Event, state: StateMap, power: PowerLevels) -> None:
    """5.6: "If membership is ban"."""
    assert event.state_key is not None
    # 5.6.1: "If the sender's current membership state is not join, reject."
    if membership_of(state, event.sender) != "join":
        raise EventRejected("the sender is not joined to the room")
    # 5.6.2: "If the sender's power level is greater than or equal to the ban level, and the target user's power level
    # is less than the sender's power level, allow. Otherwise, reject."
    sender_level = power.user_level(event.sender)
    if sender_level < power.ban or power.user_level(event.state_key) >= sender_level:
        raise EventRejected("the sender has not the power to ban this user")


def _check_knock(event: Event, state: StateMap, version: RoomVersion) -> None:
    """5.7, since v7: "If membership is knock"."""
    # 5.7.1: "If the join_rule is anything other than knock or knock_restricted, reject." knock_restricted since v10.
    rule = join_rule_of(state)
    if rule != "knock" and not (rule == "knock_restricted" and version.knock_restricted_join_rule):
        raise EventRejected("the room does not take knocks")
    # 5.7.2: "If sender does not match state_key, reject."
    if event.sender != event.state_key:
        raise EventRejected("a user can't knock for another")
    # 5.7.3: "If the sender's current membership is not ban, invite, or join, allow. Otherwise, reject."
    if membership_of(state, event.sender) in ("ban", "invite", "join"):
        raise EventRejected("the user can't knock now")
