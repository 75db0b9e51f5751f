"""The services of devices and of end-to-end encryption."""

from typing import Any

from tim_server.app.parts import Parts, now_ms
from tim_server.services.accounts.token_cache import TokenCache
from tim_server.services.accounts.uia import InteractiveAuth
from tim_server.services.devices.dehydrate import DeviceDehydration
from tim_server.services.devices.manage import DeviceManagement
from tim_server.services.key_backup.keys import BackupKeys
from tim_server.services.key_backup.versions import BackupVersions
from tim_server.services.keys.changes import KeyChanges
from tim_server.services.keys.claim import KeyClaim
from tim_server.services.keys.cross_sign import CrossSigningUpload
from tim_server.services.keys.query import KeyQuery
from tim_server.services.keys.remote_keys import RemoteKeyCache
from tim_server.services.keys.sign import SignatureUpload
from tim_server.services.keys.upload import KeyUpload
from tim_server.services.keys.user_devices import UserDevices
from tim_server.services.to_device.queue import ToDevicePolicy
from tim_server.services.to_device.send import ToDeviceSender


def device_services(parts: Parts, token_cache: TokenCache, uia: InteractiveAuth) -> dict[str, Any]:
    """Build them over the store, by field of `Homeserver`."""
    store, server_name, limits = parts.store, parts.author.server_name, parts.settings.limits
    sealed: dict[str, Any] = {"writer": store.writer, "codec": store.codec}
    common: dict[str, Any] = {"database": store.database, **sealed}
    return {
        "device_management": DeviceManagement(token_cache=token_cache, clock=now_ms, uia=uia, **common),
        "device_dehydration": DeviceDehydration(clock=now_ms, **common),
        "key_upload": KeyUpload(**common),
        "key_query": KeyQuery(
            server_name=server_name,
            database=store.database,
            codec=store.codec,
            remote=RemoteKeyCache(store=store, client=parts.federation.client),
            gate=parts.federation.gate,
            users_max=limits.keys_query_users_max,
        ),
        "key_claim": KeyClaim(
            server_name=server_name, client=parts.federation.client, gate=parts.federation.gate, **sealed
        ),
        "user_devices": UserDevices(server_name=server_name, database=store.database, codec=store.codec),
        "key_changes": KeyChanges(database=store.database),
        "cross_signing_upload": CrossSigningUpload(clock=now_ms, uia=uia, **common),
        "signature_upload": SignatureUpload(**common),
        "to_device_sender": ToDeviceSender(
            server_name=server_name,
            gate=parts.federation.gate,
            policy=ToDevicePolicy(per_device_max=limits.to_device_messages_per_device_max),
            **sealed,
        ),
        "backup_versions": BackupVersions(**common),
        "backup_keys": BackupKeys(keys_max=limits.key_backup_keys_max, **common),
    }
