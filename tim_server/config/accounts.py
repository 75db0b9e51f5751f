"""Accounts: who may register, passwords, tokens, and switches for old clients."""

from pydantic import Field, SecretStr

from tim_server.config.base import Section


class RegistrationSettings(Section):
    """Who may make an account. `tim-server user create` works in any case."""

    enabled: bool = Field(default=False, description="Whether clients can register accounts.")
    requires_token: bool = Field(
        default=True,
        description="Whether registering takes a registration token that an administrator made. Without, anybody who "
        "reaches the server can register.",
    )
    guests_allowed: bool = Field(
        default=False,
        description="Whether anybody who reaches the server gets an account without a name, a guest's: for rooms that "
        "let guests in, and for what is world-readable.",
    )
    shared_secret: SecretStr | None = Field(
        default=None,
        examples=["a long random string"],
        description="Whoever knows this secret can register accounts, administrators included, through "
        "/_synapse/admin/v1/register, as many tools do. Also as shared_secret_file.",
    )


class PasswordSettings(Section):
    """Passwords. They are stored as argon2id hashes."""

    length_min: int = Field(default=8, ge=1, description="How many characters a new password needs.")
    size_bytes_max: int = Field(default=512, ge=64, description="How long a password may be.")
    change_allowed: bool = Field(default=True, description="Whether users may change their password.")
    argon2_memory_kib: int = Field(default=19_456, ge=8, description="Memory that hashing one password takes, in KiB.")
    argon2_time_cost: int = Field(default=2, ge=1, description="Passes over that memory.")
    argon2_parallelism: int = Field(default=1, ge=1, description="Lanes of that memory.")
    hashing_concurrency_max: int = Field(default=2, ge=1, description="How many passwords a process hashes at once.")
    hashing_waiting_max: int = Field(default=200, ge=1, description="How many more may wait for their turn.")
    attempts_max: int = Field(
        default=10, ge=1, description="How many wrong passwords an account takes within the window below."
    )
    attempts_window_ms: int = Field(
        default=300_000, ge=1_000, description="The window, after which an account accepts passwords again."
    )


class TokenSettings(Section):
    """How long sessions last."""

    refreshable_lifetime_ms: int = Field(
        default=300_000, ge=1_000, description="Lifetime of access tokens of clients that refresh them."
    )
    lifetime_ms: int | None = Field(
        default=None,
        ge=1_000,
        examples=[86_400_000],
        description="Lifetime of access tokens of clients that do not; without, until logout.",
    )
    refresh_token_lifetime_ms: int | None = Field(
        default=None,
        ge=1_000,
        examples=[2_592_000_000],
        description="Lifetime of refresh tokens that are not used; without, until logout.",
    )
    devices_per_user_max: int = Field(
        default=200, ge=1, description="How many devices an account may have; the one unused longest makes room."
    )
    interactive_session_lifetime_ms: int = Field(
        default=3_600_000, ge=60_000, description="How long a user may take to authenticate for a sensitive request."
    )


class CompatibilitySettings(Section):
    """Old habits of clients, off unless needed."""

    access_token_in_query: bool = Field(
        default=False,
        description="Whether access tokens are taken from the query string, where proxies and browsers log them.",
    )
    r0_paths: bool = Field(default=False, description="Whether paths of the form /_matrix/client/r0/ are served.")
