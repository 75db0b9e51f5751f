"""Other servers: how they are found, and which addresses may be connected to."""

from typing import Annotated

from pydantic import AfterValidator, Field

from tim_server.config.base import NetworkOption, PathOption, Section, ServerNameOption


def _check_host_and_port(value: str) -> str:
    host, colon, port = value.rpartition(":")
    if not colon or not host.strip("[]") or not port.isdigit() or not 0 < int(port) < 65_536:
        raise ValueError("not an address and port such as 10.0.0.5:8448")
    return value


class FederationSettings(Section):
    """Contact with other homeservers."""

    hosts: dict[ServerNameOption, Annotated[str, AfterValidator(_check_host_and_port)]] = Field(
        default_factory=dict,
        examples=[{"hospital.example.org": "10.0.0.5:8448"}],
        description="Addresses of servers that are not to be found through DNS: server name and address:port.",
    )
    private_networks_allowed: tuple[NetworkOption, ...] = Field(
        default=(),
        examples=[["10.0.0.0/8"]],
        description="Private networks that connections to other servers may lead to; without, only public addresses.",
    )
    transactions_concurrent_max: int = Field(
        default=50,
        ge=1,
        le=1_000,
        description="To how many servers at once is sent what happens in rooms; others wait their turn. Some more may "
        "be tried meanwhile that do not answer, or slowly.",
    )
    outbox_events_max: int = Field(
        default=50_000,
        ge=100,
        description="How many events wait at most for a server that can't be reached. Of more, only the newest of each "
        "room is kept, from which the server finds the others when it is back.",
    )
    waiting_events_max: int = Field(
        default=2_000,
        ge=40,
        description="How many events of one server wait at most until those before them are fetched, a quarter of it "
        "in one room. More are dropped, and fetched when they turn out to be missing.",
    )
    ca_file: PathOption | None = Field(
        default=None,
        examples=["/etc/tim-server/authorities.pem"],
        description="Certificate authorities in PEM form to verify other servers with, instead of the system's.",
    )
    join_servers_max: int = Field(
        default=10, ge=1, le=50, description="How many servers are asked in turn to let a user into a room."
    )
    join_events_max: int = Field(
        default=100_000,
        ge=100,
        description="How many events the state of a room, with what authorises it, may have that a user joins.",
    )
    join_answer_bytes_max: int = Field(
        default=100 * 2**20,
        ge=2**20,
        description="How large the state of a room may be, with what authorises it. A join may take as much memory.",
    )
    join_timeout_s: float = Field(
        default=600.0,
        ge=1.0,
        description="How long it may take until a user is in a room of another server, all servers taken together.",
    )
    backfill_events_max: int = Field(
        default=100, ge=10, le=1_000, description="How many events of a room's history another server gets at once."
    )
    history_wait_s: float = Field(
        default=15.0,
        ge=0,
        le=120,
        description="For how many seconds a client that reads past what is here waits for other servers. What comes "
        "later is there for the next reader.",
    )
    notaries: tuple[ServerNameOption, ...] = Field(
        default=(),
        examples=[["keys.example.org"]],
        description="Servers to ask for the keys of others that do not answer themselves.",
    )
    identity_servers: tuple[ServerNameOption, ...] = Field(
        default=(),
        examples=[["identity.example.org"]],
        description="Identity servers, as host or host:port, that this server asks which user has an e-mail address or "
        "a telephone number that somebody invites; without, nobody can be invited by an address. They learn the "
        "address, who invites, and the room's name, picture, alias and join rule. The trust gate is asked besides.",
    )
