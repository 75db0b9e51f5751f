"""Walk the tree of rooms below a space.

The tree is read level by level, each with a few queries for all its rooms, then put into depth-first order; summaries
are read only of the rooms of the page. A room that several spaces hold is told once, where it is met first, so that
loops end.

Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidhierarchy
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tim_server.matrix.errors import Forbidden, InvalidParam
from tim_server.matrix.identifiers import RoomId
from tim_server.matrix.room_versions import RoomVersion, room_version
from tim_server.services.accounts.requester import Requester
from tim_server.services.directory.room_summary import (
    ACCESS_TYPES,
    SPACE,
    RoomAccess,
    RoomSummary,
    content_of,
    load_contents,
    load_summaries,
)
from tim_server.services.events.client_format import stripped_event
from tim_server.services.turns import in_turns
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection, Database
from tim_server.storage.memberships import load_joined_room_ids
from tim_server.storage.room_summaries import StateBody, find_rooms_for_user, load_child_bodies

_TOKEN = re.compile(r"h([0-9]{1,9})_([0-9]{1,4})_([01])")
_ORDER = re.compile(r"[\x20-\x7E]{1,50}")


@dataclass(frozen=True, slots=True, kw_only=True)
class HierarchyPolicy:
    """Bounds: levels below the space, rooms of the whole tree, children of one space and of a level's spaces together,
    rooms of a page."""

    depth_max: int = 20
    rooms_max: int = 2_000
    children_max: int = 1_000
    children_of_level_max: int = 10_000
    page_rooms_max: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class HierarchyQuery:
    """What of the tree; `start` is the token of a page before."""

    suggested_only: bool = False
    limit: int | None = None
    max_depth: int | None = None
    start: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HierarchyPage:
    """Rooms in depth-first order, each with its `m.space.child` events as stripped state with `origin_server_ts`."""

    rooms: Sequence[tuple[RoomSummary, Sequence[bytes]]]
    next_batch: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Child:
    """A room that a space holds, by an event that says through which servers to join it."""

    room_id: RoomId
    order: tuple[bool, str, int, str]
    event: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Node:
    """A room of the tree, how many levels below the root, and its children in order."""

    nid: int
    room_id: RoomId
    version: RoomVersion
    depth: int
    children: Sequence[_Child]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceHierarchy:
    """Reads trees of spaces."""

    database: Database
    codec: Codec
    policy: HierarchyPolicy

    async def page(self, requester: Requester, room_id: RoomId, query: HierarchyQuery) -> HierarchyPage:
        """A page of the tree, the space first; without what the requester may not find. Raises `Forbidden` where that
        is the space, `InvalidParam` for a token that does not fit."""
        depth_max = min(self.policy.depth_max if query.max_depth is None else query.max_depth, self.policy.depth_max)
        begin = _begin_of(query, depth_max)
        limit = min(query.limit or self.policy.page_rooms_max, self.policy.page_rooms_max)
        async with self.database.read() as tx:
            joined = frozenset(await load_joined_room_ids(tx, requester.user_id))
            walk = _Walk(tx=tx, codec=self.codec, policy=self.policy, requester=requester, joined=joined)
            tree = await walk.grow(room_id, depth_max=depth_max, suggested_only=query.suggested_only)
            if room_id not in tree:
                raise Forbidden("You are not allowed to view this room.")
            nodes = [*_depth_first(room_id, tree, depth_max)]
            told = nodes[begin : begin + limit]
            summaries = await load_summaries(tx, self.codec, {n.nid: (n.room_id, n.version) for n in told})
        end = begin + len(told)
        return HierarchyPage(
            rooms=[(summaries[node.nid], [child.event for child in node.children]) for node in told],
            next_batch=f"h{end}_{depth_max}_{query.suggested_only:d}" if end < len(nodes) else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Walk:
    """Reads a tree for one requester, who is joined to the rooms `joined`."""

    tx: Connection
    codec: Codec
    policy: HierarchyPolicy
    requester: Requester
    joined: Collection[RoomId]

    async def grow(self, root: RoomId, *, depth_max: int, suggested_only: bool) -> dict[RoomId, _Node]:
        """All rooms of the tree that the requester may find, by id."""
        tree: dict[RoomId, _Node] = {}
        met, level = {root}, [root]
        for depth in range(depth_max + 1):
            nodes = await self._nodes(level, depth, suggested_only=suggested_only)
            tree |= {node.room_id: node for node in nodes}
            children = dict.fromkeys(child.room_id for node in nodes for child in node.children)
            level = [room_id for room_id in children if room_id not in met][: self.policy.rooms_max - len(met)]
            met.update(level)
            if not level:
                break
        return tree

    async def _nodes(self, room_ids: Sequence[RoomId], depth: int, *, suggested_only: bool) -> list[_Node]:
        """Those of one level's rooms that the requester may find."""
        known = (await find_rooms_for_user(self.tx, room_ids, self.requester.user_id)).values()
        versions = {room.nid: room_version(room.room_version) for room in known}
        contents = await load_contents(self.tx, self.codec, versions, ACCESS_TYPES)
        access = {nid: RoomAccess.of(contents[nid], version) for nid, version in versions.items()}
        found = [room for room in known if access[room.nid].lets_find(room.membership, self.joined)]
        spaces = [room.nid for room in found if access[room.nid].room_type == SPACE]
        bodies = await load_child_bodies(
            self.tx,
            self.codec,
            spaces,
            per_room_max=self.policy.children_max,
            limit=self.policy.children_of_level_max,
        )
        children = await _children_by_room(bodies, versions, suggested_only=suggested_only)
        return [
            _Node(
                nid=room.nid,
                room_id=room.room_id,
                version=versions[room.nid],
                depth=depth,
                children=sorted(children.get(room.nid, ()), key=lambda child: child.order),
            )
            for room in found
        ]


async def _children_by_room(
    bodies: Sequence[StateBody], versions: Mapping[int, RoomVersion], *, suggested_only: bool
) -> dict[int, list[_Child]]:
    children: dict[int, list[_Child]] = {}
    async for state in in_turns(bodies):
        version = versions[state.room_nid]
        content = content_of(state, version)
        if _is_child(content) and (not suggested_only or content.get("suggested") is True):
            children.setdefault(state.room_nid, []).append(_child_of(state, content, version))
    return children


def _is_child(content: Mapping[str, Any]) -> bool:
    """Without servers to join through, a room is not considered to be part of the space."""
    via = content.get("via")
    return isinstance(via, list) and bool(via) and all(isinstance(server, str) for server in via)


def _child_of(state: StateBody, content: Mapping[str, Any], version: RoomVersion) -> _Child:
    """Children with a valid `order` come first, in that order; ties and the others by time, then by room id.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#ordering-of-children-within-a-space
    """
    order = content.get("order")
    valid = order if isinstance(order, str) and _ORDER.fullmatch(order) else None
    stripped = stripped_event(state, version)
    return _Child(
        room_id=RoomId(state.state_key),
        order=(valid is None, valid or "", state.origin_server_ts, state.state_key),
        event=stripped[:-1] + b',"origin_server_ts":%d}' % state.origin_server_ts,
    )


def _depth_first(root: RoomId, tree: Mapping[RoomId, _Node], depth_max: int) -> Iterator[_Node]:
    """Each room of the tree once: a space, then what is below its first child, then its next child."""
    stack, told = [root], set[RoomId]()
    while stack:
        node = tree.get(stack.pop())
        if node is None or node.room_id in told:
            continue
        told.add(node.room_id)
        yield node
        if node.depth < depth_max:
            stack += [child.room_id for child in reversed(node.children)]


def _begin_of(query: HierarchyQuery, depth_max: int) -> int:
    """How many rooms the pages before have told."""
    if query.start is None:
        return 0
    match = _TOKEN.fullmatch(query.start)
    if match is None:
        raise InvalidParam("from is not a token of this server")
    if (int(match[2]), match[3]) != (depth_max, f"{query.suggested_only:d}"):
        raise InvalidParam("suggested_only and max_depth cannot change on paginated requests")
    return int(match[1])
