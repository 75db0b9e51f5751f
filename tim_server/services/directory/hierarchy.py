"""Walk the tree of rooms below a space.

The tree is read level by level, each with a few queries for all its rooms, then put into depth-first order; summaries
are read only of the rooms of the page. Of rooms that this server is not in, servers are asked through which they can be
joined. A room that several spaces hold is told once, where it is met first, so that loops end.

Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidhierarchy
"""

import asyncio
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tim_server.matrix.errors import Forbidden, InvalidParam
from tim_server.matrix.identifiers import InvalidIdentifier, RoomId, ServerName
from tim_server.matrix.room_versions import RoomVersion, room_version
from tim_server.services.accounts.requester import Requester
from tim_server.services.directory.remote_hierarchy import RemoteHierarchy, RemoteSpace
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
from tim_server.storage.database import Database
from tim_server.storage.memberships import load_joined_room_ids
from tim_server.storage.room_servers import find_rooms_with
from tim_server.storage.room_summaries import StateBody, find_rooms_for_user, load_child_bodies

REMOTE_QUESTIONS_MAX = 50
REMOTE_QUESTIONS_AT_ONCE = 5
VIA_MAX = 5

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
class Child:
    """A room that a space holds, by an event that says through which servers to join it."""

    room_id: RoomId
    order: tuple[bool, str, int, str]
    via: Sequence[ServerName]
    event: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Node:
    """A room of the tree, how many levels below the root, and its children in order. `summary` is what another server
    has told of it; of a room that is known here it is read when it is told."""

    room_id: RoomId
    depth: int
    nid: int = 0
    version: RoomVersion
    children: Sequence[Child] = ()
    summary: RoomSummary | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceHierarchy:
    """Reads trees of spaces."""

    database: Database
    codec: Codec
    remote: RemoteHierarchy
    policy: HierarchyPolicy

    async def page(self, requester: Requester, room_id: RoomId, query: HierarchyQuery) -> HierarchyPage:
        """A page of the tree, the space first; without what the requester may not find. Raises `Forbidden` where that
        is the space, `InvalidParam` for a token that does not fit."""
        depth_max = min(self.policy.depth_max if query.max_depth is None else query.max_depth, self.policy.depth_max)
        begin = _begin_of(query, depth_max)
        limit = min(query.limit or self.policy.page_rooms_max, self.policy.page_rooms_max)
        async with self.database.read() as tx:
            joined = frozenset(await load_joined_room_ids(tx, requester.user_id))
        walk = _Walk(hierarchy=self, requester=requester, joined=joined, suggested_only=query.suggested_only)
        tree = await walk.grow(room_id, depth_max=depth_max)
        if room_id not in tree:
            raise Forbidden("You are not allowed to view this room.")
        nodes = [*_depth_first(room_id, tree, depth_max)]
        told = nodes[begin : begin + limit]
        known = {node.nid: (node.room_id, node.version) for node in told if node.summary is None}
        async with self.database.read() as tx:
            summaries = await load_summaries(tx, self.codec, known)
        end = begin + len(told)
        return HierarchyPage(
            rooms=[(node.summary or summaries[node.nid], [child.event for child in node.children]) for node in told],
            next_batch=f"h{end}_{depth_max}_{query.suggested_only:d}" if end < len(nodes) else None,
        )


@dataclass(slots=True, kw_only=True)
class _Walk:
    """Reads a tree for one requester, who is joined to the rooms `joined`. `heard_of` are rooms of which other servers
    have told along with a space that holds them; `questions_left` bounds how often others are asked."""

    hierarchy: SpaceHierarchy
    requester: Requester
    joined: Collection[RoomId]
    suggested_only: bool
    heard_of: dict[RoomId, RoomSummary] = field(default_factory=dict)
    questions_left: int = REMOTE_QUESTIONS_MAX

    async def grow(self, root: RoomId, *, depth_max: int) -> dict[RoomId, _Node]:
        """All rooms of the tree that the requester may find, by id."""
        tree: dict[RoomId, _Node] = {}
        met: set[RoomId] = {root}
        level: dict[RoomId, Sequence[ServerName]] = {root: ()}
        for depth in range(depth_max + 1):
            nodes = await self._nodes(level, depth)
            tree |= {node.room_id: node for node in nodes}
            children = {child.room_id: child.via for node in reversed(nodes) for child in reversed(node.children)}
            fresh = [room_id for room_id in reversed(children) if room_id not in met]
            level = {room_id: children[room_id] for room_id in fresh[: self.hierarchy.policy.rooms_max - len(met)]}
            met.update(level)
            if not level:
                break
        return tree

    async def _nodes(self, level: Mapping[RoomId, Sequence[ServerName]], depth: int) -> list[_Node]:
        """Those of one level's rooms that the requester may find, in the level's order."""
        known = await self._known_nodes(level, depth)
        unknown = {room_id: via for room_id, via in level.items() if room_id not in known}
        nodes = {node.room_id: node for node in known.values() if node is not None}
        nodes |= {node.room_id: node for node in await self._remote_nodes(unknown, depth)}
        return [nodes[room_id] for room_id in level if room_id in nodes]

    async def _known_nodes(self, room_ids: Iterable[RoomId], depth: int) -> dict[RoomId, _Node | None]:
        """Of the rooms that this server is in, None for those that the requester may not find."""
        codec, policy = self.hierarchy.codec, self.hierarchy.policy
        async with self.hierarchy.database.read() as tx:
            found = (await find_rooms_for_user(tx, room_ids, self.requester.user_id)).values()
            versions = {room.nid: room_version(room.room_version) for room in found}
            present = await find_rooms_with(tx, self.hierarchy.remote.server_name, list(versions))
            contents = await load_contents(tx, codec, versions, ACCESS_TYPES)
            known = [room for room in found if room.nid in present]
            access = {room.nid: RoomAccess.of(contents[room.nid], versions[room.nid]) for room in known}
            seen = [room for room in known if access[room.nid].lets_find(room.membership, self.joined)]
            bodies = await load_child_bodies(
                tx,
                codec,
                [room.nid for room in seen if access[room.nid].room_type == SPACE],
                per_room_max=policy.children_max,
                limit=policy.children_of_level_max,
            )
        children = await children_by_room(bodies, versions, suggested_only=self.suggested_only)
        nodes = {
            room.room_id: _Node(
                nid=room.nid,
                room_id=room.room_id,
                version=versions[room.nid],
                depth=depth,
                children=sorted(children.get(room.nid, ()), key=lambda child: child.order),
            )
            for room in seen
        }
        return {room.room_id: nodes.get(room.room_id) for room in known}

    async def _remote_nodes(self, rooms: Mapping[RoomId, Sequence[ServerName]], depth: int) -> list[_Node]:
        """Of the rooms that this server is not in, those of which others tell, and that the requester may find."""
        asked = [room_id for room_id, via in rooms.items() if via and self._must_ask(room_id)][: self.questions_left]
        self.questions_left -= len(asked)
        free = asyncio.Semaphore(REMOTE_QUESTIONS_AT_ONCE)

        async def ask(room_id: RoomId) -> RemoteSpace | None:
            async with free:
                return await self.hierarchy.remote.fetch(room_id, rooms[room_id], suggested_only=self.suggested_only)

        spaces = dict(zip(asked, await asyncio.gather(*map(ask, asked)), strict=True))
        for space in spaces.values():
            self.heard_of |= {} if space is None else space.rooms
        nodes = []
        for room_id in rooms:
            space = spaces.get(room_id)
            summary = self.heard_of.get(room_id) if space is None else space.summary
            if summary is not None and summary.access.lets_find(None, self.joined):
                nodes.append(_remote_node(summary, space, depth, suggested_only=self.suggested_only))
        return nodes

    def _must_ask(self, room_id: RoomId) -> bool:
        """Whether nobody has told of the room, or only that it is a space."""
        heard = self.heard_of.get(room_id)
        return heard is None or heard.access.room_type == SPACE


def _remote_node(summary: RoomSummary, space: RemoteSpace | None, depth: int, *, suggested_only: bool) -> _Node:
    children = [
        Child(
            room_id=child.room_id,
            order=_order_of(child.content, child.origin_server_ts, child.room_id),
            via=_via_of(child.content),
            event=child.event,
        )
        for child in (() if space is None else space.children)
        if _is_child(child.content) and (not suggested_only or child.content.get("suggested") is True)
    ]
    return _Node(
        room_id=summary.room_id,
        version=summary.access.version,
        depth=depth,
        children=sorted(children, key=lambda child: child.order),
        summary=summary,
    )


async def children_by_room(
    bodies: Sequence[StateBody], versions: Mapping[int, RoomVersion], *, suggested_only: bool
) -> dict[int, list[Child]]:
    """The rooms that these `m.space.child` events name, by the nid of the space."""
    children: dict[int, list[Child]] = {}
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


def _via_of(content: Mapping[str, Any]) -> list[ServerName]:
    """The servers through which a child can be joined, the first few."""
    servers = []
    for name in content["via"][:VIA_MAX]:
        with suppress(InvalidIdentifier):
            servers.append(ServerName.parse(name))
    return servers


def _order_of(content: Mapping[str, Any], origin_server_ts: int, room_id: str) -> tuple[bool, str, int, str]:
    """Children with a valid `order` come first, in that order; ties and the others by time, then by room id.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#ordering-of-children-within-a-space
    """
    order = content.get("order")
    valid = order if isinstance(order, str) and _ORDER.fullmatch(order) else None
    return (valid is None, valid or "", origin_server_ts, room_id)


def _child_of(state: StateBody, content: Mapping[str, Any], version: RoomVersion) -> Child:
    stripped = stripped_event(state, version)
    return Child(
        room_id=RoomId(state.state_key),
        order=_order_of(content, state.origin_server_ts, state.state_key),
        via=_via_of(content),
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
