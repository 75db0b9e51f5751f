"""The whole configuration: what concerns the process, and the homeservers in it.

A configuration with one homeserver, the normal case, has the options of both side by side at the top level; several
homeservers stand in the list `tenants`.
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator

from tim_server.config.accounts import (
    CompatibilitySettings,
    PasswordSettings,
    RegistrationSettings,
    TokenSettings,
)
from tim_server.config.base import PathOption, Section, ServerNameOption
from tim_server.config.database import DatabaseSettings, SealingSettings, TenantDatabaseSettings
from tim_server.config.federation import FederationSettings
from tim_server.config.limits import LimitSettings
from tim_server.config.listeners import DEFAULT_LISTENERS, ListenerSettings
from tim_server.config.media import MediaSettings, MediaStoreSettings
from tim_server.config.observability import ObservabilitySettings
from tim_server.config.presence import PresenceSettings
from tim_server.config.rate_limits import RateLimitSettings
from tim_server.config.rooms import RoomSettings
from tim_server.config.trust import TrustSettings
from tim_server.config.url_previews import UrlPreviewSettings
from tim_server.config.user_directory import UserDirectorySettings
from tim_server.config.well_known import WellKnownSettings
from tim_server.matrix.identifiers import ServerName

_NOT_IN_FILE_NAMES = re.compile(r"[^A-Za-z0-9.-]+")
_NOT_IN_ROLES = re.compile(r"[^a-z0-9]+")


class TenantSettings(Section):
    """One homeserver."""

    server_name: ServerNameOption = Field(
        examples=["example.org"],
        description="The part of user ids after the colon. It cannot be changed later.",
    )
    signing_key_path: PathOption | None = Field(
        default=None,
        examples=["/etc/tim-server/example.org.signing.key"],
        description="The key that signs events; made at the first start. Without a path, it lies in data_dir. Keep it "
        "safe and secret: whoever has it can speak for this server.",
    )
    database: TenantDatabaseSettings = Field(default=TenantDatabaseSettings(), description="Where its data is.")
    sealing: SealingSettings = Field(default=SealingSettings(), description="Encryption at rest.")
    registration: RegistrationSettings = Field(default=RegistrationSettings(), description="Who may register.")
    passwords: PasswordSettings = Field(default=PasswordSettings(), description="Passwords.")
    tokens: TokenSettings = Field(default=TokenSettings(), description="How long sessions last.")
    rate_limits: RateLimitSettings = Field(
        default=RateLimitSettings(), description="How often accounts and addresses may ask for something."
    )
    rooms: RoomSettings = Field(default=RoomSettings(), description="Defaults of new rooms, and the public directory.")
    user_directory: UserDirectorySettings = Field(
        default=UserDirectorySettings(), description="Whom users find when they search for somebody."
    )
    media: MediaSettings = Field(default=MediaSettings(), description="Files.")
    url_previews: UrlPreviewSettings = Field(default=UrlPreviewSettings(), description="Previews of web pages.")
    presence: PresenceSettings = Field(default=PresenceSettings(), description="Who is told that somebody is there.")
    well_known: WellKnownSettings = Field(
        default=WellKnownSettings(), description="What https://<server_name>/.well-known/matrix/ answers."
    )
    federation: FederationSettings = Field(default=FederationSettings(), description="Contact with other servers.")
    trust: TrustSettings = Field(default=TrustSettings(), description="The trust gate: whom this server talks to.")
    compatibility: CompatibilitySettings = Field(
        default=CompatibilitySettings(), description="Old habits of clients, off unless needed."
    )

    @property
    def database_role(self) -> str:
        """Name of role and schema in the embedded PostgreSQL: readable, and different for each server name."""
        readable = _NOT_IN_ROLES.sub("_", self.server_name.lower()).strip("_")[:40]
        return f"tenant_{readable}_{hashlib.sha256(self.server_name.encode()).hexdigest()[:8]}"

    @property
    def host_names(self) -> tuple[str, ...]:
        """What requests for it may have as Host: the server name, and where clients and servers are told to find it."""
        base_url = self.well_known.client_base_url
        told = urlsplit(str(base_url)).netloc if base_url is not None else None
        return tuple(name for name in (self.server_name, told, self.well_known.server) if name)


class Settings(Section):
    """One process and its homeservers."""

    data_dir: PathOption = Field(
        examples=["/var/lib/tim-server"],
        description="Where keys and, unless a dsn is given, the embedded PostgreSQL are kept.",
    )
    workers: int = Field(default=1, ge=1, le=64, description="How many processes serve; they share the ports.")
    listeners: tuple[ListenerSettings, ...] = Field(
        default=DEFAULT_LISTENERS, min_length=1, description="Addresses and ports to listen on."
    )
    database: DatabaseSettings = Field(default=DatabaseSettings(), description="Connections to PostgreSQL.")
    limits: LimitSettings = Field(
        default=LimitSettings(), description="Bounds; exceeding one gives a clear error, never a breakdown."
    )
    media_store: MediaStoreSettings = Field(default=MediaStoreSettings(), description="Where files are kept.")
    observability: ObservabilitySettings = Field(default=ObservabilitySettings(), description="Logs.")
    tenants: tuple[TenantSettings, ...] = Field(
        min_length=1,
        description="Several homeservers in one process: a list whose entries have server_name and any of the sections "
        "that follow.",
    )

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        names = [tenant.server_name.lower() for tenant in self.tenants]
        if len(set(names)) < len(names):
            raise ValueError("two tenants have the same server_name")
        hosts = [name for tenant in self.tenants for name in {name.lower() for name in tenant.host_names}]
        if len(set(hosts)) < len(hosts):
            raise ValueError("two tenants have the same host: their server_name, or an address in well_known")
        dsns = [dsn.get_secret_value() for dsn in (tenant.database.dsn for tenant in self.tenants) if dsn is not None]
        if len(set(dsns)) < len(dsns):
            raise ValueError("two tenants have the same dsn: each needs a database role of its own")
        places = [(each.address, each.port) for each in self.listeners if each.port != 0]
        if len(set(places)) < len(places):
            raise ValueError("two listeners have the same address and port")
        if any(each.trust.mutual_tls.required for each in self.tenants) and not any(
            each.takes_client_certificates for each in self.listeners
        ):
            raise ValueError("trust.mutual_tls.required takes a listener for federation that takes client certificates")
        return self

    @property
    def uses_embedded_postgres(self) -> bool:
        """Whether any homeserver has no database of its own."""
        return any(tenant.database.dsn is None for tenant in self.tenants)

    @property
    def embedded_postgres_folder(self) -> Path:
        """Where the embedded PostgreSQL keeps its data."""
        return self.data_dir / "postgresql"

    @property
    def embedded_connections_max(self) -> int:
        """How many connections the embedded PostgreSQL must take: those of all workers, and some for administration."""
        return self.workers * self.database.connections_max + 20

    def signing_key_path(self, tenant: TenantSettings) -> Path:
        """Where the homeserver's signing key is."""
        if tenant.signing_key_path is not None:
            return tenant.signing_key_path
        return self.data_dir / f"{_NOT_IN_FILE_NAMES.sub('_', tenant.server_name)}.signing.key"

    @property
    def media_folder(self) -> Path:
        """Where files are kept, those of each homeserver in a folder of its own."""
        return self.media_store.folder or self.data_dir / "media"

    @property
    def media_master_key_path(self) -> Path:
        """The file of the master key, where the configuration names no key."""
        return self.data_dir / "media.master.key"

    @property
    def former_media_master_key_path(self) -> Path:
        """The file of the one before, which still opens what it has sealed."""
        return self.data_dir / "media.master.key.old"

    def with_dsns(self, dsns: Mapping[ServerName, str]) -> "Settings":
        """The same settings, with the databases of the homeservers named in `dsns` filled in."""
        tenants = tuple(
            tenant.model_copy(update={"database": TenantDatabaseSettings(dsn=SecretStr(dsns[tenant.server_name]))})
            if tenant.server_name in dsns
            else tenant
            for tenant in self.tenants
        )
        return self.model_copy(update={"tenants": tenants})

    def with_workers(self, workers: int) -> "Settings":
        """The same settings with another number of processes."""
        return self.model_copy(update={"workers": workers})
