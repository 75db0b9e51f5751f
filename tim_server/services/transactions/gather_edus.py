"""What sources of EDUs owe a server, gathered for one transaction: from the commit log's tail where that suffices.

Spec: https://spec.matrix.org/v1.19/server-server-api/#edus
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tim_server.matrix.canonical_json import encode_relaxed
from tim_server.services.transactions.destination import Destination, Touched
from tim_server.services.transactions.edus import EDU_BYTES_MAX, EDUS_MAX, Asked, DueEdus, EduSource
from tim_server.storage.store import Store


@dataclass(slots=True, kw_only=True)
class Gathered:
    """EDUs as canonical JSON, and the cursors of sources once they are acknowledged."""

    edus: list[bytes] = field(default_factory=list)
    size_bytes: int = 0
    cursors: dict[str, int] = field(default_factory=dict)

    @property
    def places(self) -> int:
        """How many more EDUs may come in."""
        return 0 if self.size_bytes >= EDU_BYTES_MAX else EDUS_MAX - len(self.edus)

    def add(self, name: str, due: DueEdus) -> DueEdus | None:
        """Take in what fits; what is left over."""
        for number, edu in enumerate(due.edus):
            encoded = encode_relaxed({"content": edu.content, "edu_type": edu.edu_type})
            if not self.places or (self.edus and self.size_bytes + len(encoded) > EDU_BYTES_MAX):
                return replace(due, edus=due.edus[number:])
            self.edus.append(encoded)
            self.size_bytes += len(encoded)
        self.cursors[name] = due.cursor
        return None


Found = dict[str, tuple[DueEdus, Touched]]
"""What sources owe, by name, and the mark for which they were asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EduGathering:
    """Asks sources, in the order in which they get places. `unsettled_since`: after which position it is not known yet
    who is concerned, as `EduWatch` says."""

    store: Store
    sources: Sequence[EduSource]
    unsettled_since: Callable[[], int | None] = lambda: None

    async def gather(self, destination: Destination) -> Gathered:
        """What those owe that may owe anything; what finds no place, or comes meanwhile, stays noted."""
        touched, left_over = destination.touched, destination.left_over
        if destination.asks_all:
            touched = {source.name: Touched() for source in self.sources}
        destination.asks_all, destination.touched, destination.left_over = False, {}, {}
        try:
            found = await self._ask(
                {name: mark for name, mark in touched.items() if name not in left_over}, destination
            )
        except BaseException:
            destination.ask_all()
            raise
        for name in left_over.keys() & touched.keys():
            destination.put_back(name, touched[name])
        gathered = Gathered()
        for source in self.sources:
            of_source = left_over.get(source.name) or found.get(source.name)
            if of_source is not None:
                _take(gathered, destination, source.name, *of_source)
        return gathered

    async def _ask(self, marks: Mapping[str, Touched], destination: Destination) -> Found:
        """Ask the log's tail first, so that no connection is held while a source waits for another."""
        found: Found = {}
        behind: list[tuple[EduSource, Asked]] = []
        position, unsettled_since = self.store.commit_log.position, self.unsettled_since()
        up_to = position if unsettled_since is None else min(position, unsettled_since)
        for source in self.sources:
            if source.name in marks:
                asked = _asked(destination, source.name, marks[source.name], up_to)
                due = await self._ask_tail(source, asked)
                if due is None:
                    behind.append((source, asked))
                else:
                    found[source.name] = (due, marks[source.name])
        if behind:
            async with self.store.database.read() as tx:
                for source, asked in behind:
                    found[source.name] = (await source.from_database(tx, asked), marks[source.name])
        return found

    async def _ask_tail(self, source: EduSource, asked: Asked) -> DueEdus | None:
        entries = None if asked.rooms is None else self.store.commit_log.since(asked.after)
        if entries is None:
            return None
        return await source.from_tail(asked, [entry for entry in entries if entry.position <= asked.up_to])


def _asked(destination: Destination, name: str, mark: Touched, up_to: int) -> Asked:
    cursor = destination.cursors.get(name, 0)
    return Asked(
        destination=destination.name,
        cursor=cursor,
        after=max(cursor, mark.since),
        up_to=up_to,
        rooms=None if mark.rooms is None else frozenset(mark.rooms),
        whole=frozenset(mark.whole),
    )


def _take(gathered: Gathered, destination: Destination, name: str, due: DueEdus, mark: Touched) -> None:
    rest = gathered.add(name, due)
    if rest is not None:
        destination.left_over[name] = (rest, mark)
    elif due.more:
        destination.put_back(name, Touched(due.cursor, mark.rooms))
