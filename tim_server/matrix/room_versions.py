"""Room versions 1–12 as data: each version states only what differs from the one before it.

Code asks for a rule (`version.restricted_join_rule`), never for a version number.

Spec: https://spec.matrix.org/v1.19/rooms/
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from types import MappingProxyType


class EventFormat(Enum):
    """Form of the PDU and of the event id."""

    SENDER_ASSIGNED_ID = 1  # v1, v2: `event_id` stands in the PDU; references are pairs of id and hashes
    HASHED_ID_BASE64 = 2  # v3: the id is the reference hash in unpadded Base64
    HASHED_ID_URL_SAFE = 3  # v4 on: the id is the reference hash in unpadded, URL-safe Base64


class StateResolution(Enum):
    """Algorithm that merges conflicting states."""

    V1 = 1
    V2 = 2
    V2_1 = 3


class RedactionRules(Enum):
    """Which keys survive a redaction."""

    V1 = 1  # v1–v5
    V6 = 6  # aliases of m.room.aliases no longer kept
    V8 = 8  # allow of m.room.join_rules kept
    V9 = 9  # join_authorised_via_users_server of m.room.member kept
    V11 = 11  # whole m.room.create kept, invite of power levels, redacts of m.room.redaction, signed of invites


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomVersion:
    """The rules of one room version."""

    identifier: str
    event_format: EventFormat
    state_resolution: StateResolution
    redaction_rules: RedactionRules
    enforces_canonical_json: bool  # since v6: no floats, integers within ±(2^53−1), strictly valid JSON
    enforces_key_validity: bool  # since v5: signing keys are valid only until `valid_until_ts`
    special_case_aliases_auth: bool  # v1–v5: m.room.aliases has an authorisation rule of its own
    notifications_power_level_auth: bool  # since v6: changes of `notifications` in power levels are checked
    redaction_power_level_auth: bool  # v1, v2: redactions are authorised on receipt, by power or by domain of the id
    integer_power_levels: bool  # since v10: power levels that are strings are rejected
    knock_join_rule: bool  # since v7
    restricted_join_rule: bool  # since v8
    knock_restricted_join_rule: bool  # since v10
    implicit_room_creator: bool  # since v11: the creator is the sender of the create event
    redacts_in_content: bool  # since v11
    room_id_is_create_hash: bool  # since v12: room id = hash of the create event, which auth_events do not list
    privileged_creators: bool  # since v12: creators have infinite power and may be several
    strict_invite_state: bool  # since v12: the create event comes with an invite, as a whole event

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return room_version, (self.identifier,)


V1 = RoomVersion(
    identifier="1",
    event_format=EventFormat.SENDER_ASSIGNED_ID,
    state_resolution=StateResolution.V1,
    redaction_rules=RedactionRules.V1,
    enforces_canonical_json=False,
    enforces_key_validity=False,
    special_case_aliases_auth=True,
    notifications_power_level_auth=False,
    redaction_power_level_auth=True,
    integer_power_levels=False,
    knock_join_rule=False,
    restricted_join_rule=False,
    knock_restricted_join_rule=False,
    implicit_room_creator=False,
    redacts_in_content=False,
    room_id_is_create_hash=False,
    privileged_creators=False,
    strict_invite_state=False,
)
V2 = replace(V1, identifier="2", state_resolution=StateResolution.V2)
V3 = replace(V2, identifier="3", event_format=EventFormat.HASHED_ID_BASE64, redaction_power_level_auth=False)
V4 = replace(V3, identifier="4", event_format=EventFormat.HASHED_ID_URL_SAFE)
V5 = replace(V4, identifier="5", enforces_key_validity=True)
V6 = replace(
    V5,
    identifier="6",
    redaction_rules=RedactionRules.V6,
    enforces_canonical_json=True,
    special_case_aliases_auth=False,
    notifications_power_level_auth=True,
)
V7 = replace(V6, identifier="7", knock_join_rule=True)
V8 = replace(V7, identifier="8", redaction_rules=RedactionRules.V8, restricted_join_rule=True)
V9 = replace(V8, identifier="9", redaction_rules=RedactionRules.V9)
V10 = replace(V9, identifier="10", integer_power_levels=True, knock_restricted_join_rule=True)
V11 = replace(
    V10, identifier="11", redaction_rules=RedactionRules.V11, implicit_room_creator=True, redacts_in_content=True
)
V12 = replace(
    V11,
    identifier="12",
    state_resolution=StateResolution.V2_1,
    room_id_is_create_hash=True,
    privileged_creators=True,
    strict_invite_state=True,
)

ROOM_VERSIONS: Mapping[str, RoomVersion] = MappingProxyType(
    {v.identifier: v for v in (V1, V2, V3, V4, V5, V6, V7, V8, V9, V10, V11, V12)}
)


def room_version(identifier: str) -> RoomVersion:
    """The room version of this identifier; raises `KeyError` where it is not supported."""
    return ROOM_VERSIONS[identifier]
