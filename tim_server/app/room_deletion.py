"""The services that delete rooms for administrators."""

import secrets

from tim_server.app.accounts import Services
from tim_server.app.parts import Parts, now_ms
from tim_server.background.elect import elected_loop
from tim_server.background.supervise import Loop
from tim_server.services.media.unreferenced import UnreferencedMedia
from tim_server.services.rooms.deletion.carry_out import DeletionWork
from tim_server.services.rooms.deletion.forget import forget_in_tail, upon_deletion
from tim_server.services.rooms.deletion.purge import RoomPurge
from tim_server.services.rooms.deletion.request import RoomDeletion
from tim_server.storage.election import Elections

DELETION_POST = "delete rooms"
FORGET_INTERVAL_S = 3_600.0


def room_deletion_services(parts: Parts, elections: Elections) -> Services:
    """Build them over the store and the room queues."""
    store, server_name = parts.store, parts.author.server_name
    work = DeletionWork(
        server_name=server_name,
        store=store,
        leaving=parts.leaving,
        purge=RoomPurge(server_name=server_name, store=store, now_ms=now_ms),
        files=UnreferencedMedia(database=store.database, codec=store.codec, now_ms=now_ms),
        now_ms=now_ms,
    )
    remembered = (parts.parsed.clear, parts.client_events.heads.clear, store.snapshots.clear)
    store.commit_log.subscribe(upon_deletion(*remembered))
    store.commit_log.subscribe(forget_in_tail(store.commit_log))
    return Services(
        fields={
            "room_deletion": RoomDeletion(
                database=store.database,
                writer=store.writer,
                now_ms=now_ms,
                randomness=secrets.token_bytes,
                on_begun=work.look,
            )
        },
        closers=(),
        loops=(
            elected_loop(elections, DELETION_POST, work.run),
            Loop(name="forget deleted rooms", interval_s=FORGET_INTERVAL_S, work=work.forget_former),
        ),
    )
