"""One homeserver of a process: its store, its services, its background loops."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from tim_server.app.accounts import account_services
from tim_server.app.cache_budget import (
    CLIENT_EVENT_HEADS,
    COMMITS,
    EVENTS_OF_COMMITS,
    HEAD_STATE_ENTRIES,
    HISTORY_VISIBILITIES,
    PARSED_EVENTS,
    SNAPSHOT_MEMBERS,
    CacheBudget,
    cache_budget,
)
from tim_server.app.directory import directory_services
from tim_server.app.edus import edu_receiving
from tim_server.app.ephemeral import ephemeral_services, presence_tracking
from tim_server.app.federation import federation_services
from tim_server.app.federation_parts import FederationParts, federation_parts
from tim_server.app.media import media_services
from tim_server.app.media_keys import load_media_codec
from tim_server.app.membership import make_leaving, make_outside, membership_services
from tim_server.app.parts import Parts, now_ms
from tim_server.app.push import make_outcomes, push_services
from tim_server.app.room_deletion import room_deletion_services
from tim_server.app.rooms import room_services
from tim_server.app.sending import make_sending
from tim_server.app.sync import sync_services
from tim_server.background.reap import reaping_loops
from tim_server.background.supervise import Loop
from tim_server.config.settings import Settings, TenantSettings
from tim_server.config.signing_key import read_old_keys, read_signing_key
from tim_server.matrix.events.build import Author
from tim_server.matrix.identifiers import ServerName
from tim_server.services.events.client_events import ClientEvents
from tim_server.services.events.client_format import EventHeads
from tim_server.services.events.visibility import EventVisibility
from tim_server.services.homeserver import Homeserver
from tim_server.services.rooms.all_rooms import AllRooms
from tim_server.services.rooms.ask_policy_server import PolicyCheck
from tim_server.services.rooms.auth_events import ParsedEvents
from tim_server.services.rooms.head import RoomHeads
from tim_server.services.rooms.queue import QueueOptions, RoomQueues
from tim_server.services.rooms.receive import Receiver
from tim_server.services.rooms.resolve_state import StateResolver
from tim_server.services.servers.resolve_alias import AliasResolution
from tim_server.services.transactions.keep_sending import FederationSending
from tim_server.storage.codec import Codec, make_codec
from tim_server.storage.database import DatabaseOptions
from tim_server.storage.election import Elections
from tim_server.storage.store import Remembered, Store, open_store
from tim_server.storage.writer import WriterOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenHomeserver:
    """A homeserver that runs. `host_names` are those that requests for it may name; `closers` are awaited in order
    before the store is closed."""

    homeserver: Homeserver
    store: Store
    federation: FederationParts
    sending: FederationSending
    host_names: tuple[str, ...]
    loops: Sequence[Loop]
    closers: Sequence[Callable[[], Awaitable[None]]]

    async def check_database(self) -> None:
        """Raises unless the database answers."""
        await self.store.database.ping()

    async def close(self) -> None:
        """Finish what was accepted, then close the store."""
        for close in self.closers:
            await close()
        await self.store.close()


async def open_homeserver(settings: Settings, tenant: TenantSettings, *, worker_count: int) -> OpenHomeserver:
    """Open the store of a migrated schema and build the services over it."""
    limits = settings.limits
    budget = cache_budget(limits.cache_bytes_max, homeserver_count=len(settings.tenants))
    store = await open_store(
        _database_options(settings, tenant),
        make_codec(tenant.sealing.key_bytes),
        WriterOptions(queue_length_max=limits.writer_queue_length_max),
        remembered=Remembered(
            commits_max=min(limits.commits_remembered_max, budget.entries_max(COMMITS)),
            bytes_of_commits_max=budget.entries_max(EVENTS_OF_COMMITS),
            snapshot_members_max=budget.entries_max(SNAPSHOT_MEMBERS),
        ),
        alone=worker_count == 1,
    )
    try:
        async with store.database.connection() as connection:
            media_codec = await load_media_codec(settings, tenant, connection)
        opened = _build(_make_parts(settings, tenant, store, media_codec, budget, worker_count=worker_count))
        await opened.federation.trust.load()
        return opened
    except BaseException:
        await store.close()
        raise


def _build(parts: Parts) -> OpenHomeserver:
    elections = Elections(parts.store.database)
    accounts, rooms = account_services(parts), room_services(parts, elections)
    presence = presence_tracking(parts)
    ephemeral = ephemeral_services(parts, accounts.fields["account_data"], presence)
    sync = sync_services(parts, accounts.fields["filters"], presence, rooms.fields)
    fields = accounts.fields | rooms.fields | directory_services(parts).fields | ephemeral.fields | sync.fields
    edus = edu_receiving(parts, ephemeral.fields["typing"], presence.audience)
    sending = make_sending(parts, presence.audience, elections)
    federation = federation_services(parts, edus.fields["edu_receiver"], sending.failing, elections)
    membership, media = membership_services(parts), media_services(parts)
    deletion = room_deletion_services(parts, elections)
    fields |= media.fields | push_services(parts).fields | federation.fields | membership.fields
    fields |= sending.services.fields | deletion.fields
    return OpenHomeserver(
        homeserver=Homeserver(server_name=parts.author.server_name, **fields),
        store=parts.store,
        federation=parts.federation,
        sending=sending.job,
        host_names=parts.tenant.host_names,
        loops=(
            *reaping_loops(parts.store),
            *rooms.loops,
            *ephemeral.loops,
            *edus.loops,
            *federation.loops,
            *media.loops,
            *deletion.loops,
            *sending.services.loops,
            *parts.federation.trust.loops,
        ),
        closers=(
            *sync.closers,
            *rooms.closers,
            *ephemeral.closers,
            *federation.closers,
            *edus.closers,
            *media.closers,
            *sending.services.closers,
            elections.close,
            parts.queues.close,
            *accounts.closers,
            parts.resolver.close,
            *parts.federation.closers,
        ),
    )


def _make_parts(
    settings: Settings,
    tenant: TenantSettings,
    store: Store,
    media_codec: Codec,
    budget: CacheBudget,
    *,
    worker_count: int,
) -> Parts:
    author = Author(server_name=tenant.server_name, key=read_signing_key(settings.signing_key_path(tenant)))
    old_keys = read_old_keys(settings.signing_key_path(tenant))
    federation = federation_parts(tenant, author, old_keys, store, now_ms)
    heads = RoomHeads(store.database, state_entries_max=budget.entries_max(HEAD_STATE_ENTRIES))
    parsed = ParsedEvents(store.database, store.codec, bytes_max=budget.entries_max(PARSED_EVENTS))
    resolver = StateResolver(database=store.database, parsed=parsed)
    store.commit_log.subscribe(heads.follow)
    store.writer.on_restored += [heads.clear, parsed.clear]
    outcomes = make_outcomes(store, parsed, author.server_name, budget)
    queues = RoomQueues(
        store=store,
        heads=heads,
        parsed=parsed,
        receiver=Receiver(store=store, parsed=parsed, resolver=resolver),
        outcomes=outcomes,
        gate=federation.gate,
        author=author,
        now_ms=now_ms,
        policy=PolicyCheck(client=federation.client, parsed=parsed),
        options=QueueOptions(waiting_max=settings.limits.room_queue_length_max),
    )
    outside = make_outside(settings, store, heads, author.server_name)
    leaving = make_leaving(queues, outside, federation)
    return Parts(
        settings=settings,
        tenant=tenant,
        budget=budget,
        worker_count=worker_count,
        store=store,
        media_codec=media_codec,
        author=author,
        heads=heads,
        parsed=parsed,
        queues=queues,
        resolver=resolver,
        rules=outcomes.rules,
        outside=outside,
        leaving=leaving,
        membership=AllRooms(database=store.database, codec=store.codec, queues=queues, leaving=leaving),
        client_events=_make_client_events(store, author.server_name, budget),
        federation=federation,
        aliases=AliasResolution(
            server_name=author.server_name, database=store.database, client=federation.client, gate=federation.gate
        ),
    )


def _make_client_events(store: Store, server_name: ServerName, budget: CacheBudget) -> ClientEvents:
    visibility = EventVisibility(
        server_name=server_name,
        codec=store.codec,
        snapshots=store.snapshots,
        remembered_max=budget.entries_max(HISTORY_VISIBILITIES),
    )
    client_events = ClientEvents(
        codec=store.codec,
        visibility=visibility,
        now_ms=now_ms,
        heads=EventHeads(bytes_max=budget.entries_max(CLIENT_EVENT_HEADS)),
    )
    store.commit_log.subscribe(visibility.erased.follow)
    store.writer.on_restored += [visibility.clear, visibility.erased.clear, client_events.heads.clear]
    return client_events


def _database_options(settings: Settings, tenant: TenantSettings) -> DatabaseOptions:
    database = tenant.database
    assert database.dsn is not None, "the command line fills in the DSN of the embedded PostgreSQL"
    share = settings.database.connections_max // len(settings.tenants)
    return DatabaseOptions(
        dsn=database.dsn.get_secret_value(),
        direct_dsn=None if database.direct_dsn is None else database.direct_dsn.get_secret_value(),
        pooler=database.direct_dsn is not None,
        pool_size_max=max(1, min(settings.database.pool_size_max, share - 3)),
        command_timeout_s=settings.database.command_timeout_s,
    )
