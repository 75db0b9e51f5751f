"""Where the data is: PostgreSQL servers, connections, and the sealing of stored content."""

import base64

from pydantic import Field, model_validator

from tim_server.config.base import DsnOption, SecretKeyOption, Section


class DatabaseSettings(Section):
    """Connections of one process to PostgreSQL."""

    connections_max: int = Field(
        default=40,
        ge=4,
        description="How many connections one process opens at most, over all tenants. With several workers, "
        "PostgreSQL's max_connections must be above workers × connections_max.",
    )
    pool_size_max: int = Field(
        default=8, ge=1, description="How many connections for reads one process opens at most for each tenant."
    )
    command_timeout_s: float = Field(default=60.0, gt=0, description="After how many seconds a statement is given up.")


class TenantDatabaseSettings(Section):
    """The PostgreSQL schema of one homeserver."""

    dsn: DsnOption | None = Field(
        default=None,
        examples=["postgresql://tim:password@127.0.0.1:5432/tim"],
        description="The database of this homeserver: a role of its own, which owns a schema of the same name or may "
        "create it. Without a dsn, tim-server runs a PostgreSQL of its own in the folder postgresql of data_dir (needs "
        "the extra [embedded]). Also as dsn_file.",
    )
    direct_dsn: DsnOption | None = Field(
        default=None,
        examples=["postgresql://tim:password@127.0.0.1:5432/tim"],
        description="Where dsn leads to a pooler such as pgbouncer: a way past it, for what needs a session of its "
        "own. Also as direct_dsn_file.",
    )

    @model_validator(mode="after")
    def _check_direct_dsn(self) -> "TenantDatabaseSettings":
        if self.direct_dsn is not None and self.dsn is None:
            raise ValueError("direct_dsn without dsn")
        return self


class SealingSettings(Section):
    """Encryption at rest of what users wrote."""

    key: SecretKeyOption | None = Field(
        default=None,
        examples=["what the command `openssl rand -base64 32` prints"],
        description="Seals stored content with this key: 32 random bytes in Base64. Set it before the first start and "
        "keep it: without it the content is lost. Also as key_file.",
    )

    @property
    def key_bytes(self) -> bytes | None:
        """The key itself; None means that content is stored as it is."""
        return None if self.key is None else base64.b64decode(self.key.get_secret_value())
