"""The services for other homeservers."""

from tim_server.app.accounts import Services
from tim_server.app.history import state_reading
from tim_server.app.joins import joins_under_way, resident_joins
from tim_server.app.parts import Parts, now_ms
from tim_server.app.resident import resident_reading
from tim_server.app.trust_parts import trust_review
from tim_server.background.elect import elected_loop
from tim_server.services.rooms.remote.check_pdus import PduCheck
from tim_server.services.rooms.remote.missing_events import MissingEvents
from tim_server.services.rooms.remote.receive_pdus import PduReceiver
from tim_server.services.rooms.remote.rescinded import Rescissions
from tim_server.services.rooms.remote.waiting_events import WaitingEvents, WaitingOptions
from tim_server.services.rooms.resident.participation import Participation
from tim_server.services.servers.authenticate import ServerAuthenticator
from tim_server.services.servers.notary import Notary
from tim_server.services.servers.publish_keys import KeyPublication
from tim_server.services.transactions.failing import FailingServers
from tim_server.services.transactions.receive import TransactionReceiver
from tim_server.services.transactions.receive_edus import EduReceiver
from tim_server.storage.election import Elections

WAITING_POST = "fetch missing events"


def federation_services(parts: Parts, edus: EduReceiver, failing: FailingServers, elections: Elections) -> Services:
    """Build them over what they share, what takes in EDUs, and who is told which servers are there."""
    federation = parts.federation
    publication = KeyPublication(author=parts.author, old_keys=federation.keys.own_old_keys, now_ms=now_ms)
    waiting = _waiting_events(parts)
    parts.store.commit_log.subscribe(waiting.follow)
    receiver = _transaction_receiver(parts, edus, waiting)
    return Services(
        fields={
            "server_authenticator": ServerAuthenticator(
                server_name=parts.author.server_name,
                keys=federation.keys,
                gate=federation.gate,
                heard=failing.heard,
                request_keys=federation.proofs.request_keys,
                client_certificates=federation.proofs.client_certificates,
                admits_strangers=not federation.trust.knowledge.rules.needs_listing,
                needs_destination=federation.trust.knowledge.rules.needs_destination,
            ),
            "key_publication": publication,
            "notary": Notary(author=parts.author, keys=federation.keys, own=publication, now_ms=now_ms),
            "transaction_receiver": receiver,
            **resident_reading(parts),
            **resident_joins(parts),
            "trust_review": trust_review(federation.trust, parts.tenant, parts.store, now_ms),
        },
        closers=(receiver.close,),
        loops=(elected_loop(elections, WAITING_POST, waiting.run),),
    )


def _transaction_receiver(parts: Parts, edus: EduReceiver, waiting: WaitingEvents) -> TransactionReceiver:
    participation = Participation(server_name=parts.author.server_name, heads=parts.heads, parsed=parts.parsed)
    check = PduCheck(keys=parts.federation.keys)
    return TransactionReceiver(
        store=parts.store,
        pdus=PduReceiver(
            queues=parts.queues,
            participation=participation,
            check=check,
            gate=parts.federation.gate,
            rescissions=Rescissions(check=check, gate=parts.federation.gate, outside=parts.outside),
            waiting=waiting,
        ),
        edus=edus,
    )


def _waiting_events(parts: Parts) -> WaitingEvents:
    store, federation = parts.store, parts.federation
    check = PduCheck(keys=federation.keys)
    reading = state_reading(parts)
    return WaitingEvents(
        store=store,
        queues=parts.queues,
        check=check,
        missing=MissingEvents(
            store=store,
            client=federation.client,
            check=check,
            states=reading.states,
            fetching=reading.events,
            gate=federation.gate,
        ),
        participation=Participation(server_name=parts.author.server_name, heads=parts.heads, parsed=parts.parsed),
        joins=joins_under_way(parts),
        now_ms=now_ms,
        options=WaitingOptions(events_max=parts.tenant.federation.waiting_events_max),
    )
