"""Where the bytes of files lie: a folder, or a bucket."""

import ssl
from pathlib import Path

import structlog

from tim_server.config.load import ConfigurationError, Problem
from tim_server.config.settings import Settings, TenantSettings
from tim_server.media_store.bucket import BucketPlace, open_bucket
from tim_server.media_store.errors import MediaStoreError, StoreRefused
from tim_server.media_store.folder import open_folder
from tim_server.media_store.objects import Objects

_log = structlog.get_logger("media")


def open_objects(settings: Settings, tenant: TenantSettings) -> Objects:
    """The objects of a homeserver; raises `ConfigurationError`, and OSError where its folder can't be made. Within a
    running event loop."""
    folder = settings.media_folder / tenant.database_role
    s3 = settings.media_store.s3
    if s3.bucket is None:
        return open_folder(folder)
    secret = s3.secret_access_key
    if (s3.access_key_id is None) != (secret is None):
        raise _wrong("media_store.s3", "access_key_id and secret_access_key belong together")
    place = BucketPlace(
        bucket=s3.bucket,
        region=s3.region,
        prefix=f"{s3.prefix}{tenant.database_role}/",
        endpoint=s3.endpoint,
        access_key_id=s3.access_key_id,
        secret_access_key=None if secret is None else secret.get_secret_value(),
        ca=None if s3.ca_file is None else _read_authorities(s3.ca_file),
        timeout_s=s3.timeout_s,
    )
    return open_bucket(place, folder)


async def check_objects(settings: Settings, tenant: TenantSettings) -> None:
    """Raises `ConfigurationError` where the object store refuses what the server needs. One that can't be reached now
    may be later: what is not about files goes on without it."""
    objects = open_objects(settings, tenant)
    try:
        await objects.check()
    except StoreRefused as error:
        raise _wrong("media_store.s3", str(error)) from None
    except MediaStoreError as error:
        _log.error("the object store can't be used now", error=str(error))
    finally:
        await objects.close()


def _read_authorities(path: Path) -> bytes:
    """PEM, which OpenSSL has read once."""
    try:
        authorities = path.read_bytes()
        ssl.create_default_context().load_verify_locations(cadata=authorities.decode("ascii"))
        return authorities
    except (OSError, ValueError) as error:
        raise _wrong("media_store.s3.ca_file", f"{path} cannot be used: {error}") from None


def _wrong(key: str, reason: str) -> ConfigurationError:
    return ConfigurationError([Problem(source="configuration", line=None, key=key, reason=reason)])
