"""From a template that another server gave to the member event that is signed: a server must never be brought to sign
anything but what its user asked for, so of the template only what ties the event to the room's graph is taken.

Spec: https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1make_joinroomiduserid
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tim_server.federation.errors import RemoteError
from tim_server.federation.membership import Template
from tim_server.matrix.errors import EventRejected
from tim_server.matrix.events.build import Author, NewPdu, build_event
from tim_server.matrix.events.read import AUTH_EVENTS_MAX, PREV_EVENTS_MAX, check_reference, referenced_ids
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId, InvalidIdentifier, RoomId, ServerName, UserId
from tim_server.matrix.room_versions import ROOM_VERSIONS, EventFormat, RoomVersion
from tim_server.services.rooms.head import DEPTH_MAX
from tim_server.services.rooms.member_content import AUTHORISED_VIA, MEMBER


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedTemplate:
    """What is taken of a template. `authorised_via`: the user who authorises a restricted join."""

    room_id: RoomId
    version: RoomVersion
    prev_events: tuple[EventId, ...]
    auth_events: tuple[EventId, ...]
    depth: int
    authorised_via: UserId | None


def check_template(
    template: Template, server: ServerName, room_id: RoomId, user_id: UserId, membership: str
) -> CheckedTemplate:
    """Hold a template against what was asked for. Raises `RemoteError` where it says anything else, or a version that
    this server does not know."""
    version = ROOM_VERSIONS.get(template.room_version)
    if version is None:
        raise RemoteError(server, 400, "M_INCOMPATIBLE_ROOM_VERSION", "The version of the room is not supported here")
    event = template.event
    content = event.get("content")
    said = (event.get("room_id"), event.get("type"), event.get("sender"), event.get("state_key"))
    if said != (room_id, MEMBER, user_id, user_id):
        raise RemoteError.malformed(server, "the template is not for this user and room")
    if not isinstance(content, dict) or content.get("membership") != membership:
        raise RemoteError.malformed(server, "the template is for another membership")
    depth = event.get("depth")
    if not isinstance(depth, int) or isinstance(depth, bool) or depth < 0:
        raise RemoteError.malformed(server, "the template has no depth")
    return CheckedTemplate(
        room_id=room_id,
        version=version,
        prev_events=_references(event, "prev_events", version, PREV_EVENTS_MAX, server),
        auth_events=_references(event, "auth_events", version, AUTH_EVENTS_MAX, server),
        depth=min(depth, DEPTH_MAX),
        authorised_via=_authorised_via(content, version, membership, server),
    )


def _references(
    event: Mapping[str, Any], key: str, version: RoomVersion, count_max: int, server: ServerName
) -> tuple[EventId, ...]:
    references = event.get(key)
    if not isinstance(references, list) or not 0 < len(references) <= count_max:
        raise RemoteError.malformed(server, f"{key} of the template are no list of a sensible length")
    try:
        for reference in references:
            check_reference(reference, version)
    except EventRejected as error:
        raise RemoteError.malformed(server, str(error)) from None
    return referenced_ids(references, version)


def _authorised_via(
    content: Mapping[str, Any], version: RoomVersion, membership: str, server: ServerName
) -> UserId | None:
    if membership != "join" or not version.restricted_join_rule or AUTHORISED_VIA not in content:
        return None
    try:
        user_id = UserId.parse(content[AUTHORISED_VIA])
    except (InvalidIdentifier, AttributeError, TypeError):
        raise RemoteError.malformed(server, f"{AUTHORISED_VIA} of the template is not a user id") from None
    return user_id


def member_event(
    template: CheckedTemplate,
    user_id: UserId,
    content: Mapping[str, Any],
    *,
    author: Author,
    now_ms: int,
    unique: str,
) -> Event:
    """The user's own member event on a template, signed. `unique` becomes part of the event's id in v1 and v2, where
    this server must never give one twice. Raises `BadJson` and `TooLarge` for what content can't be."""
    version = template.version
    assigns_ids = version.event_format is EventFormat.SENDER_ASSIGNED_ID
    new = NewPdu(
        room_id=template.room_id,
        type=MEMBER,
        state_key=user_id,
        sender=user_id,
        content={**content} | ({} if template.authorised_via is None else {AUTHORISED_VIA: template.authorised_via}),
        prev_events=template.prev_events,
        auth_events=template.auth_events,
        depth=template.depth,
        origin_server_ts=now_ms,
        event_id=EventId(f"${unique}:{author.server_name}") if assigns_ids else None,
    )
    return build_event(new, version, author)[0]
