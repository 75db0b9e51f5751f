"""Create rooms: all events, the alias and the place in the public directory in one commit, or nothing.

Spec: https://spec.matrix.org/v1.19/client-server-api/#creation
"""

from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tim_server.matrix.errors import Forbidden, InvalidParam, InvalidRoomState, UnsupportedRoomVersion
from tim_server.matrix.identifiers import InvalidIdentifier, RoomAlias, RoomId, ServerName, UserId
from tim_server.matrix.room_versions import ROOM_VERSIONS, RoomVersion
from tim_server.services.accounts.requester import Requester
from tim_server.services.rooms.aliases import check_new_alias
from tim_server.services.rooms.decide import Decision
from tim_server.services.rooms.draft import DraftGroup
from tim_server.services.rooms.identity_servers import IdentityServers, InvitedAddress
from tim_server.services.rooms.invite_address import draft_of, told_of_invite
from tim_server.services.rooms.invite_permission import check_take_invites
from tim_server.services.rooms.member_content import MEMBER, load_names
from tim_server.services.rooms.new_room_state import InitialState, NewRoom, Preset, drafts_of
from tim_server.services.rooms.permission import check_may_act
from tim_server.services.rooms.queue import RoomNames, RoomQueues
from tim_server.services.rooms.remote.invite import InviteRefused, Invites
from tim_server.storage.codec import Codec
from tim_server.storage.database import Database

ROOM_ID_BYTES = 18
EVENTS_MAX = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomOptions:
    """What a request to create a room may say."""

    is_public: bool = False
    preset: Preset | None = None
    room_version: str | None = None
    room_alias_name: str | None = None
    name: str | None = None
    topic: str | None = None
    invite: Sequence[UserId] = ()
    invited_addresses: Sequence[InvitedAddress] = ()
    is_direct: bool = False
    creation_content: Mapping[str, Any] = field(default_factory=dict)
    initial_state: Sequence[InitialState] = ()
    power_level_content_override: Mapping[str, Any] = field(default_factory=dict)

    @property
    def invited(self) -> list[UserId]:
        """Who is invited, also by `initial_state`."""
        members = (state for state in self.initial_state if state.type == MEMBER)
        return [*self.invite, *(UserId(m.state_key) for m in members if m.content.get("membership") == "invite")]


@dataclass(frozen=True, slots=True, kw_only=True)
class CreationPolicy:
    """The version of new rooms, and how many users may be invited at once."""

    default_version: str = "12"
    invites_max: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomCreation:
    """Creates rooms. `randomness` gives unpredictable bytes."""

    server_name: ServerName
    database: Database
    codec: Codec
    queues: RoomQueues
    invites: Invites
    identity: IdentityServers
    policy: CreationPolicy
    randomness: Callable[[int], bytes]

    async def create(self, requester: Requester, options: RoomOptions) -> RoomId:
        """Create a room; its id.

        Raises `UnsupportedRoomVersion`, `InvalidRoomState` where the authorisation rules refuse one of its events,
        `Forbidden` where the trust gate refuses a server, `RoomInUse` for a taken alias, `InviteBlocked`,
        `InvalidParam`, `BadJson`, `TooLarge`, what `Invites.submit` raises for a user of another server, and for
        addresses what `IdentityServers` raises.
        """
        check_may_act(requester)
        version = self._version(options)
        alias = self._alias(options)
        self._check_invites(options)
        await self.invites.check_servers(options.invited)
        found = await self.identity.find(options.invited_addresses)
        await self.invites.check_servers(found.values())
        async with self.database.connection() as connection:
            await check_take_invites(connection, self.codec, [*options.invited, *found.values()])
            names = await load_names(connection, self.codec, [requester.user_id, *options.invite, *found.values()])
        drafts = drafts_of(
            NewRoom(
                creator=requester.user_id,
                version=version,
                preset=options.preset or (Preset.PUBLIC_CHAT if options.is_public else Preset.PRIVATE_CHAT),
                creation_content=options.creation_content,
                initial_state=options.initial_state,
                name=options.name,
                topic=options.topic,
                alias=alias,
                invite=options.invite,
                found=tuple(found.values()),
                is_direct=options.is_direct,
                power_level_content_override=options.power_level_content_override,
                names=names,
            )
        )
        pending = [each for each in dict.fromkeys(options.invited_addresses) if each not in found]
        if len(drafts) + len(pending) > EVENTS_MAX:
            raise InvalidParam(f"A room can't begin with more than {EVENTS_MAX} events")
        await self.queues.ask_gate(drafts)
        room_id = None if version.room_id_is_create_hash else self._new_room_id()
        room_names = RoomNames(aliases=() if alias is None else (alias,), is_published=options.is_public)
        group = DraftGroup(drafts=drafts)
        sign = partial(self._complete, group, pending, names.get(requester.user_id, {}))
        try:
            created = await self.queues.create(room_id, version, group, room_names, sign=sign)
        except InviteRefused:
            raise
        except Forbidden as error:
            raise InvalidRoomState(f"The room can't begin like this: {error.message}") from error
        return created.room_id

    async def _complete(
        self, group: DraftGroup, pending: Sequence[InvitedAddress], names: Mapping[str, Any], decision: Decision
    ) -> Decision:
        """The decision on a room that may begin like this, with what others add to it: invites of addresses that nobody
        has yet, which identity servers keep, and signatures. `names` are those of the creator."""
        if pending:
            head, create = decision.head, decision.events[0]
            contents = {(event.type, event.state_key or ""): event.content for event in decision.events}
            about = told_of_invite(head.room_id, create.sender, contents, names)
            drafts = [draft_of(stored, create.sender) for stored in await self.identity.store(pending, about)]
            room_id = None if head.version.room_id_is_create_hash else head.room_id
            whole = DraftGroup(drafts=(*group.drafts, *drafts))
            decision = await self.queues.decide_new(room_id, head.version, whole, create.origin_server_ts)
        return await self.invites.sign_new_room(decision)

    def _version(self, options: RoomOptions) -> RoomVersion:
        identifier = self.policy.default_version if options.room_version is None else options.room_version
        version = ROOM_VERSIONS.get(identifier)
        if version is None:
            raise UnsupportedRoomVersion("This server does not support the room version")
        return version

    def _alias(self, options: RoomOptions) -> RoomAlias | None:
        if options.room_alias_name is None:
            return None
        if ":" in options.room_alias_name:
            raise InvalidParam("room_alias_name is only the local part of an alias")
        try:
            alias = RoomAlias.parse(f"#{options.room_alias_name}:{self.server_name}")
        except InvalidIdentifier:
            raise InvalidParam("room_alias_name makes no room alias") from None
        check_new_alias(alias, self.server_name)
        return alias

    def _check_invites(self, options: RoomOptions) -> None:
        if len(options.invited) + len(options.invited_addresses) > self.policy.invites_max:
            raise InvalidParam(f"At most {self.policy.invites_max} users can be invited with a new room")

    def _new_room_id(self) -> RoomId:
        return RoomId(f"!{urlsafe_b64encode(self.randomness(ROOM_ID_BYTES)).decode()}:{self.server_name}")
