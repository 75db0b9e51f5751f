"""The services that remove files, and those with which administrators look at them, withdraw and delete them."""

from tim_server.app.accounts import Services
from tim_server.app.parts import Parts, now_ms
from tim_server.background.supervise import Loop
from tim_server.media_store.objects import Objects
from tim_server.services.media.avatars import AvatarsInUse
from tim_server.services.media.delete import MediaDeletion
from tim_server.services.media.expire import CopyExpiry
from tim_server.services.media.expire_thumbnails import ThumbnailExpiry
from tim_server.services.media.expire_uploads import UploadExpiry
from tim_server.services.media.moderate import MediaModeration
from tim_server.services.media.policy import MediaPolicy
from tim_server.services.media.reap import LeftoverReaping

REAP_INTERVAL_S = 600.0
EXPIRY_INTERVAL_S = 3_600.0
BOUND_INTERVAL_S = 60.0
"""Anybody can have much fetched."""


def media_retention(parts: Parts, policy: MediaPolicy, objects: Objects) -> Services:
    """Build them over the objects of the homeserver."""
    database, server_name = parts.store.database, parts.author.server_name
    avatars = AvatarsInUse(server_name=server_name, database=database, codec=parts.store.codec)
    copies = CopyExpiry(database=database, policy=policy, now_ms=now_ms)
    uploads = UploadExpiry(database=database, avatars=avatars, policy=policy, now_ms=now_ms)
    thumbnails = ThumbnailExpiry(database=database, policy=policy, now_ms=now_ms)
    reaping = LeftoverReaping(database=database, objects=objects, now_ms=now_ms)
    return Services(
        fields={
            "media_moderation": MediaModeration(
                server_name=server_name,
                database=database,
                writer=parts.store.writer,
                codec=parts.media_codec,
                now_ms=now_ms,
            ),
            "media_deletion": MediaDeletion(server_name=server_name, database=database, avatars=avatars, now_ms=now_ms),
        },
        closers=(),
        loops=(
            Loop(name="reap media_leftovers", interval_s=REAP_INTERVAL_S, work=reaping.reap),
            Loop(name="expire copies of media", interval_s=EXPIRY_INTERVAL_S, work=copies.expire),
            Loop(name="bound copies of media", interval_s=BOUND_INTERVAL_S, work=copies.shrink),
            Loop(name="bound thumbnails", interval_s=REAP_INTERVAL_S, work=thumbnails.shrink),
            Loop(name="remove orphaned thumbnails", interval_s=EXPIRY_INTERVAL_S, work=thumbnails.remove_orphans),
            Loop(name="expire uploaded media", interval_s=EXPIRY_INTERVAL_S, work=uploads.expire),
        ),
    )
