"""The services of files."""

import asyncio

from tim_server.app.accounts import Services
from tim_server.app.media_objects import open_objects
from tim_server.app.media_retention import media_retention
from tim_server.app.parts import Parts, now_ms
from tim_server.app.url_previews import url_preview_services
from tim_server.media_store.clamd import Clamd
from tim_server.media_store.files import MediaFiles
from tim_server.services.fair_turns import OwnTurns
from tim_server.services.media import thumbnails as thumbnail_rules
from tim_server.services.media.announce import MediaAnnouncement
from tim_server.services.media.arrivals import MediaArrivals
from tim_server.services.media.download import MediaDownload
from tim_server.services.media.fetch import REFUSALS, RemoteMedia
from tim_server.services.media.keep import MediaKeeping
from tim_server.services.media.policy import MediaPolicy, UserQuota
from tim_server.services.media.scan import MediaScan, ScanPolicy
from tim_server.services.media.sending import sending_turns
from tim_server.services.media.thumbnails import MediaThumbnails
from tim_server.services.media.under_way import UploadsUnderWay
from tim_server.services.media.upload import MediaUpload
from tim_server.services.media.used_space import UsedSpace
from tim_server.services.shared_work import SharedWork


def media_services(parts: Parts) -> Services:
    """Build them over the objects of the homeserver; raises what `open_objects` raises."""
    store, server_name, codec = parts.store, parts.author.server_name, parts.media_codec
    objects = open_objects(parts.settings, parts.tenant)
    files, policy = MediaFiles(objects), _policy(parts)
    keeping = MediaKeeping(writer=store.writer, codec=codec, files=files, now_ms=now_ms, scan=_scan(parts, files))
    remote = RemoteMedia(
        client=parts.federation.client,
        database=store.database,
        keeping=keeping,
        policy=policy,
        work=SharedWork(refusals=REFUSALS, now_ms=now_ms),
    )
    sending = sending_turns(parts.settings.limits.downloads_under_way_per_user_max)
    thumbnails = _thumbnails(parts, keeping, policy, sending)
    arrivals = MediaArrivals()
    store.commit_log.subscribe(arrivals.follow)
    retention = media_retention(parts, policy, objects)
    previews = url_preview_services(parts, keeping)
    return Services(
        fields={
            **retention.fields,
            "media_upload": MediaUpload(
                server_name=server_name,
                database=store.database,
                keeping=keeping,
                policy=policy,
                used_space=UsedSpace(database=store.database, now_ms=now_ms),
                under_way=UploadsUnderWay(per_user_max=parts.settings.limits.uploads_under_way_per_user_max),
                now_ms=now_ms,
            ),
            "media_thumbnails": thumbnails,
            **previews.fields,
            "media_announcement": MediaAnnouncement(writer=store.writer, policy=policy, now_ms=now_ms),
            "media_download": MediaDownload(
                server_name=server_name,
                database=store.database,
                writer=store.writer,
                codec=codec,
                files=files,
                gate=parts.federation.gate,
                remote=remote,
                arrivals=arrivals,
                turns=sending,
                policy=policy,
                now_ms=now_ms,
            ),
        },
        closers=(remote.close, thumbnails.close, *previews.closers, objects.close),
        loops=(*retention.loops, *previews.loops),
    )


def _thumbnails(parts: Parts, keeping: MediaKeeping, policy: MediaPolicy, sending: OwnTurns) -> MediaThumbnails:
    return MediaThumbnails(
        server_name=parts.author.server_name,
        database=parts.store.database,
        keeping=keeping,
        policy=policy,
        work=SharedWork(
            refusals=thumbnail_rules.REFUSALS,
            now_ms=now_ms,
            refusal_lifetime_ms=thumbnail_rules.REFUSAL_LIFETIME_MS,
            refused_as=thumbnail_rules.refused_as,
        ),
        sending=sending,
    )


def _scan(parts: Parts, files: MediaFiles) -> MediaScan | None:
    """What scans files, where that is configured."""
    settings = parts.tenant.media.scan
    if settings.place is None:
        return None
    policy = ScanPolicy(
        uploads=settings.uploads,
        remote=settings.remote,
        encrypted=settings.encrypted,
        is_required=settings.required,
        timeout_s=settings.timeout_s,
    )
    return MediaScan(
        scanner=Clamd(settings.place),
        files=files,
        policy=policy,
        turns=asyncio.Semaphore(settings.concurrent_max),
        turns_of_senders=OwnTurns(per_key_max=max(1, settings.concurrent_max // 2)),
    )


def _policy(parts: Parts) -> MediaPolicy:
    media = parts.tenant.media
    return MediaPolicy(
        upload_bytes_max=media.upload_bytes_max,
        upload_timeout_s=media.upload_timeout_s,
        user_quota=UserQuota(size_bytes=media.quota_bytes_per_user, files=media.files_per_user_max),
        remote_bytes_max=media.remote_bytes_max,
        remote_lifetime_s=media.remote_lifetime_s,
        remote_timeout_s=media.remote_timeout_s,
        announced_per_user_max=parts.settings.limits.announced_files_per_user_max,
        announced_lifetime_s=media.announced_lifetime_s,
        thumbnail_source_bytes_max=media.thumbnail_source_bytes_max,
        thumbnail_pixels_max=media.thumbnail_pixels_max,
        thumbnail_timeout_s=media.thumbnail_timeout_s,
        quota_bytes=media.quota_bytes,
        local_lifetime_s=media.local_lifetime_s,
        remote_kept_bytes_max=media.remote_kept_bytes_max,
        thumbnails_kept_bytes_max=media.thumbnails_kept_bytes_max,
        unauthenticated_downloads=media.unauthenticated_downloads,
    )
