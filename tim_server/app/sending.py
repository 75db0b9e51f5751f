"""What sends to other servers: one process of the homeserver, which is elected."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from tim_server.app.accounts import Services
from tim_server.app.cache_budget import OUTGOING_EVENTS
from tim_server.app.parts import Parts, now_ms
from tim_server.background.elect import elected_loop
from tim_server.matrix.identifiers import UserId
from tim_server.matrix.presence import UserPresence
from tim_server.services.keys.edus import DeviceListEdus
from tim_server.services.presence.audience import PresenceAudience
from tim_server.services.presence.edus import REPEAT_INTERVAL_S as PRESENCE_INTERVAL_S
from tim_server.services.presence.edus import PresenceEdus
from tim_server.services.receipts.edus import ReceiptEdus
from tim_server.services.rooms.deletion.forget import upon_deletion
from tim_server.services.shared_look_ups import SharedLookUps
from tim_server.services.to_device.edus import ToDeviceEdus
from tim_server.services.transactions.acknowledge import Acknowledgements
from tim_server.services.transactions.compose import Composer, RecentBodies
from tim_server.services.transactions.edus import EduSource
from tim_server.services.transactions.failing import FailingServers
from tim_server.services.transactions.gather_edus import EduGathering
from tim_server.services.transactions.keep_sending import FederationSending, Repeat
from tim_server.services.transactions.review import DestinationReview
from tim_server.services.transactions.rooms_to_tell import RoomsToTell
from tim_server.services.transactions.send import SendingOptions, TransactionSender
from tim_server.services.transactions.watch_edus import EduWatch
from tim_server.services.typing.edus import REPEAT_INTERVAL_S as TYPING_INTERVAL_S
from tim_server.services.typing.edus import TypingEdus
from tim_server.storage.election import Elections

POST = "send to other servers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """Who hears of servers, who sends, and the services that go with it."""

    failing: FailingServers
    job: FederationSending
    services: Services


def make_sending(parts: Parts, audience: PresenceAudience, elections: Elections) -> Sending:
    """Build it over the store; it follows the commit log from now on."""
    store = parts.store
    failing = FailingServers(
        database=store.database,
        writer=store.writer,
        health=parts.federation.client.health,
        clock_s=asyncio.get_running_loop().time,
    )
    job = _make_job(parts, audience)
    for follow in (failing.follow, job.follow):
        store.commit_log.subscribe(follow)
    store.writer.on_restored += [failing.clear, job.restart]
    trust = parts.federation.trust
    trust.knowledge.on_change.append(partial(failing.trust_changed, trust.gate.is_listed))
    review = DestinationReview(database=store.database, writer=store.writer)
    return Sending(
        failing=failing,
        job=job,
        services=Services(
            fields={"destination_review": review},
            closers=(failing.close,),
            loops=(elected_loop(elections, POST, job.run),),
        ),
    )


def _make_job(parts: Parts, audience: PresenceAudience) -> FederationSending:
    store, federation = parts.store, parts.tenant.federation
    sources, repeats = _make_sources(parts, audience)
    bodies = RecentBodies(bytes_max=parts.budget.entries_max(OUTGOING_EVENTS))
    store.commit_log.subscribe(upon_deletion(bodies.clear))
    sender = TransactionSender(
        client=parts.federation.client,
        writer=store.writer,
        composer=Composer(
            server_name=parts.author.server_name,
            store=store,
            edus=EduGathering(store=store, sources=sources, unsettled_since=lambda: watch.unsettled_since),
            bodies=bodies,
            now_ms=now_ms,
        ),
        acknowledgements=Acknowledgements(database=store.database, sources=sources),
        now_ms=now_ms,
        options=SendingOptions(concurrent_max=federation.transactions_concurrent_max),
    )
    watch = EduWatch(server_name=parts.author.server_name, database=store.database, sources=sources, touch=sender.touch)
    return FederationSending(
        store=store,
        sender=sender,
        watch=watch,
        repeats=repeats,
        outbox_events_max=federation.outbox_events_max,
    )


def _make_sources(parts: Parts, audience: PresenceAudience) -> tuple[Sequence[EduSource], Sequence[Repeat]]:
    """In the order in which they get places in a transaction."""
    store, server_name = parts.store, parts.author.server_name
    rooms = RoomsToTell(store=store)
    presences: SharedLookUps[UserId, UserPresence] = SharedLookUps(database=store.database, read=audience.of_users)
    typing = TypingEdus(server_name=server_name, rooms=rooms)
    presence = PresenceEdus(
        server_name=server_name,
        audience=audience,
        look_ups=presences,
        arrivals=SharedLookUps(database=store.database, read=audience.arrivals),
        now_ms=now_ms,
    )
    for remembering in (rooms, presence):
        store.commit_log.subscribe(remembering.follow)
        store.writer.on_restored.append(remembering.clear)
    sources: tuple[EduSource, ...] = (
        ToDeviceEdus(codec=store.codec),
        DeviceListEdus(store=store, server_name=server_name),
        typing,
        ReceiptEdus(server_name=server_name, rooms=rooms),
        presence,
    )
    repeats = (
        Repeat(source=typing.name, interval_s=TYPING_INTERVAL_S, rooms=typing.rooms_to_repeat),
        Repeat(source=presence.name, interval_s=PRESENCE_INTERVAL_S, rooms=presence.rooms_to_repeat),
    )
    return sources, repeats
