"""A homeserver's trust in a signed directory, without the rest of the homeserver: a store, a clock, a source."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.certificates import DAY, NOW
from tests.trust.circle import RULES, make_organisation, sign
from tim_server.egress.errors import OutgoingError, RemoteUnreachable
from tim_server.matrix.identifiers import ServerName
from tim_server.services.trust.decisions import DecisionLog
from tim_server.services.trust.gate import TrustGate
from tim_server.services.trust.knowledge import TrustKnowledge
from tim_server.services.trust.refresh import DirectoryRefresh, DirectorySource
from tim_server.storage.store import Store
from tim_server.trust.directory import Directory, encode_directory
from tim_server.trust.profiles import DIRECTORY
from tim_server.trust.signed_directory import SignerRules

OWN_NAME = ServerName("own.example")
A, B, STRANGER = ServerName("a.example"), ServerName("b.example"), ServerName("stranger.example")

_numbers = itertools.count(1)


def directory_of(*ids: str, **changes: Any) -> Directory:
    """A directory of the hospitals `a` (whose server is a.example), `b` …"""
    values = {"version": 7, "issued": NOW - DAY, "expires": NOW + 30 * DAY, **changes}
    return Directory(organisations=tuple(make_organisation(each) for each in ids), **values)


def token_of(*ids: str, **changes: Any) -> bytes:
    """Such a directory, signed as the circle's rules ask for."""
    return sign(encode_directory(directory_of(*ids, **changes)))


@dataclass
class Clock:
    """Milliseconds since the epoch, as a test sets them."""

    now: int = int(NOW.timestamp() * 1000)

    def __call__(self) -> int:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += round(seconds * 1000)


@dataclass
class Source:
    """Where directories are published: what is there for each URL (None: nothing newer), and who asked."""

    documents: dict[str, bytes | OutgoingError | None] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def fetch(self, url: str) -> bytes | None:
        self.asked.append(url)
        document = self.documents.get(url.partition("?")[0], RemoteUnreachable("directory.example can't be reached"))
        if isinstance(document, OutgoingError):
            raise document
        return document


URL = "https://directory.example/directory.jws"


@dataclass
class Site:
    """One process of the homeserver. Processes of the same `name` share a directory."""

    store: Store
    source: Source = field(default_factory=Source)
    clock: Clock = field(default_factory=Clock)
    urls: tuple[str, ...] = (URL,)
    rules: SignerRules = RULES
    name: str = field(default_factory=lambda: f"source {next(_numbers)}")
    knowledge: TrustKnowledge = field(init=False)
    decisions: DecisionLog = field(init=False)
    refresh: DirectoryRefresh = field(init=False)
    gate: TrustGate = field(init=False)

    def __post_init__(self) -> None:
        self.knowledge = TrustKnowledge(own_name=OWN_NAME, rules=DIRECTORY)
        self.decisions = DecisionLog(
            database=self.store.database, writer=self.store.writer, now_ms=self.clock, kept_max=100
        )
        self.refresh = DirectoryRefresh(
            source=DirectorySource(
                name=self.name,
                urls=self.urls,
                rules=self.rules,
                refresh_interval_ms=300_000,
                unknown_server_interval_ms=60_000,
            ),
            store=self.store,
            fetch=self.source.fetch,
            knowledge=self.knowledge,
            decisions=self.decisions,
            now_ms=self.clock,
        )
        self.gate = TrustGate(
            server_name=OWN_NAME,
            knowledge=self.knowledge,
            decisions=self.decisions,
            look_again=self.refresh.look_again,
        )

    def publish(self, document: bytes | OutgoingError | None) -> None:
        """Have this at the first of the source's places."""
        self.source.documents[self.urls[0]] = document

    @property
    def version(self) -> int | None:
        """The version in force."""
        return None if self.knowledge.copy is None else self.knowledge.copy.directory.version

    def restarted(self, **changes: Any) -> "Site":
        """Another process of the same homeserver, or the same one after a restart; it has loaded nothing yet."""
        values = {"source": self.source, "clock": self.clock, "urls": self.urls, "rules": self.rules, **changes}
        return Site(store=self.store, name=self.name, **values)

    @contextmanager
    def following(self) -> Iterator[None]:
        """Hear what is committed, as a running process does."""
        self.store.commit_log.subscribe(self.refresh.follow)
        yield
        self.store.commit_log._subscribers.remove(self.refresh.follow)
