"""Redaction: which keys of an event survive, by room version.

Spec: https://spec.matrix.org/v1.19/client-server-api/#redactions
"""

from collections.abc import Mapping
from typing import Any

from tim_server.matrix.room_versions import RedactionRules, RoomVersion

_TOP_LEVEL = frozenset(
    {
        "auth_events",
        "content",
        "depth",
        "event_id",
        "hashes",
        "origin_server_ts",
        "prev_events",
        "room_id",
        "sender",
        "signatures",
        "state_key",
        "type",
    }
)
# Until v10 three more keys of old servers were protected.
_TOP_LEVEL_V1 = _TOP_LEVEL | {"prev_state", "origin", "membership"}

_POWER_LEVELS = frozenset(
    {"ban", "events", "events_default", "kick", "redact", "state_default", "users", "users_default"}
)
_V1: Mapping[str, frozenset[str]] = {
    "m.room.member": frozenset({"membership"}),
    "m.room.create": frozenset({"creator"}),
    "m.room.join_rules": frozenset({"join_rule"}),
    "m.room.power_levels": _POWER_LEVELS,
    "m.room.aliases": frozenset({"aliases"}),
    "m.room.history_visibility": frozenset({"history_visibility"}),
}
_V6 = {event_type: keys for event_type, keys in _V1.items() if event_type != "m.room.aliases"}
_V8 = {**_V6, "m.room.join_rules": frozenset({"join_rule", "allow"})}
_V9 = {**_V8, "m.room.member": frozenset({"membership", "join_authorised_via_users_server"})}
_V11 = {
    **_V9,
    "m.room.power_levels": _POWER_LEVELS | {"invite"},
    "m.room.redaction": frozenset({"redacts"}),
}
_KEPT: Mapping[RedactionRules, Mapping[str, frozenset[str]]] = {
    RedactionRules.V1: _V1,
    RedactionRules.V6: _V6,
    RedactionRules.V8: _V8,
    RedactionRules.V9: _V9,
    RedactionRules.V11: _V11,
}
_NONE: frozenset[str] = frozenset()


def redact(pdu: Mapping[str, Any], version: RoomVersion) -> dict[str, Any]:
    """The redacted form of a PDU. `unsigned` goes; the input is not changed."""
    kept = _TOP_LEVEL if version.redaction_rules is RedactionRules.V11 else _TOP_LEVEL_V1
    redacted = {key: value for key, value in pdu.items() if key in kept}
    content = pdu.get("content")
    redacted["content"] = redact_content(pdu.get("type"), content if isinstance(content, dict) else {}, version)
    return redacted


def redact_content(event_type: object, content: Mapping[str, Any], version: RoomVersion) -> dict[str, Any]:
    """What remains of the content of an event of this type."""
    if version.redaction_rules is RedactionRules.V11 and event_type == "m.room.create":
        return dict(content)
    table = _KEPT[version.redaction_rules]
    kept = table.get(event_type, _NONE) if isinstance(event_type, str) else _NONE
    redacted = {key: content[key] for key in kept & content.keys()}
    if version.redaction_rules is RedactionRules.V11 and event_type == "m.room.member":
        invite = content.get("third_party_invite")
        if isinstance(invite, dict):
            # An object without `signed` stays as an empty one: Synapse has it so, and event ids depend on it.
            redacted["third_party_invite"] = {"signed": invite["signed"]} if "signed" in invite else {}
    return redacted
