"""Withholding: servers that the room's access control list denies are told nothing of what happens in it, although they
are in the room. They are told of the list that denies them, and of the one that lets them in again.

Spec: https://spec.matrix.org/v1.19/client-server-api/#server-access-control-lists-acls-for-rooms
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tim_server.matrix.server_acls import SERVER_ACL, is_allowed_by_acl
from tim_server.services.rooms.decide import Decision
from tim_server.storage.room_commit_records import Owed

AccessList = Mapping[str, Any] | None


def changes_access(decision: Decision) -> bool:
    """Whether one of the events is an access control list."""
    return any((event.type, event.state_key) == SERVER_ACL for event in decision.events)


def withheld_from_denied(decision: Decision, access_list: AccessList) -> Decision:
    """The decision, with nothing owed to denied servers; the list is the one in place before it."""
    if decision.commit is None:
        return decision
    lists: list[tuple[AccessList, AccessList]] = []  # before and after each event
    for event in decision.events:
        after = event.content if (event.type, event.state_key) == SERVER_ACL else access_list
        lists.append((access_list, after))
        access_list = after
    told = (_told(owed, lists[owed.event_index]) for owed in decision.commit.outbox)
    return replace(decision, commit=replace(decision.commit, outbox=tuple(owed for owed in told if owed.destinations)))


def _told(owed: Owed, lists: tuple[AccessList, AccessList]) -> Owed:
    allowed = (server for server in owed.destinations if any(is_allowed_by_acl(each, server) for each in lists))
    return replace(owed, destinations=tuple(allowed))
