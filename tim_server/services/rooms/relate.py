"""What sending an event that relates to another depends on: its parent, and what the sender has sent before.

Spec: https://spec.matrix.org/v1.19/client-server-api/#forming-relationships-between-events
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from tim_server.matrix.errors import DuplicateAnnotation, Unknown
from tim_server.matrix.identifiers import EventId, UserId
from tim_server.matrix.relations import ANNOTATION, THREAD, Relation, relation_of
from tim_server.services.rooms.draft import Draft
from tim_server.storage.codec import Codec
from tim_server.storage.database import Database
from tim_server.storage.new_events import NewEvent
from tim_server.storage.relations import Parent, annotation_fingerprint, find_annotations, load_parents

Annotation: TypeAlias = tuple[Relation, str, UserId]
"""An annotation, the type of its event, and who made it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Related:
    """The stored parents of drafts, and the annotations among the drafts that their senders have made already."""

    parents: Mapping[EventId, Parent] = field(default_factory=dict)
    annotated: Collection[Annotation] = ()

    def check(self, draft: Draft, relation: Relation, before: Iterable[NewEvent]) -> None:
        """Raise for what servers "should reject" of a client; `before` are events that go with the draft.

        Spec: https://spec.matrix.org/v1.19/client-server-api/#avoiding-duplicate-annotations and
        https://spec.matrix.org/v1.19/client-server-api/#validation-of-mthread-relationships
        """
        if relation.rel_type == THREAD:
            parent = self.parents.get(relation.event_id)
            if parent is not None and parent.is_child:
                raise Unknown("A thread can't start from an event that relates to another")
        elif relation.rel_type == ANNOTATION and relation.key is not None:
            annotation = (relation, draft.type, draft.sender)
            if annotation in self.annotated or any((e.relation, e.type, e.sender) == annotation for e in before):
                raise DuplicateAnnotation()

    def thread_of(self, relation: Relation) -> EventId | None:
        """The thread of an event with this relation."""
        parent = self.parents.get(relation.event_id)
        return thread_of(relation, None if parent is None else parent.thread_id)


NOTHING_RELATED = Related()


def thread_of(relation: Relation, thread_of_parent: EventId | None) -> EventId | None:
    """The root of the thread that a child belongs to: the one that it names, else that of its parent."""
    return relation.event_id if relation.rel_type == THREAD else thread_of_parent


async def load_related(database: Database, codec: Codec, room_nid: int, drafts: Iterable[Draft]) -> Related:
    """What these drafts depend on, in one query of each kind; none where no draft relates to anything."""
    stated = [(draft, relation_of(draft.type, draft.state_key, draft.content)) for draft in drafts]
    related = [(draft, relation) for draft, relation in stated if relation is not None]
    if not related:
        return NOTHING_RELATED
    annotations: dict[bytes, Annotation] = {
        annotation_fingerprint(codec, relation, draft.type, draft.sender): (relation, draft.type, draft.sender)
        for draft, relation in related
        if relation.rel_type == ANNOTATION and relation.key is not None
    }
    async with database.connection() as connection:
        parents = await load_parents(connection, room_nid, {relation.event_id for _, relation in related})
        known = await find_annotations(connection, annotations) if annotations else set()
    return Related(parents=parents, annotated={annotations[fingerprint] for fingerprint in known})
