"""The checks of received PDUs that need no room: form, signatures, hashes.

Spec: https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tim_server.federation.keys import KeyRing
from tim_server.matrix.errors import BadSignature, EventRejected
from tim_server.matrix.events.hashes import event_id_of, verify_content_hash
from tim_server.matrix.events.read import read_pdu, read_stored_pdu
from tim_server.matrix.events.record import Event
from tim_server.matrix.events.redaction import redact
from tim_server.matrix.identifiers import EventId, RoomId
from tim_server.matrix.room_versions import RoomVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedPdus:
    """`events` that passed, in the order given, each once; `refused` says why others did not, by event id."""

    events: tuple[Event, ...] = ()
    refused: Mapping[EventId, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PduCheck:
    """Checks PDUs of one room, many at a time."""

    keys: KeyRing

    async def check(self, pdus: Sequence[Any], version: RoomVersion, room_id: RoomId) -> CheckedPdus:
        """Checks 1 to 3. A PDU whose content hash does not match passes as redacted ("Passes hash checks, otherwise it
        is redacted before being processed further"). What has not even an event id is left out.
        """
        read = self.read(pdus, version, room_id)
        verified = await self.verify(read.events)
        return CheckedPdus(events=verified.events, refused={**read.refused, **verified.refused})

    def read(
        self, pdus: Iterable[Any], version: RoomVersion, room_id: RoomId, *, is_history: bool = False
    ) -> CheckedPdus:
        """Check 1, the form: the events, which nobody need have signed. History may refer to more events."""
        events: dict[EventId, Event] = {}
        refused: dict[EventId, str] = {}
        for pdu in pdus:
            try:
                event = read_pdu(pdu, version, is_history=is_history)
            except (EventRejected, TypeError, AttributeError) as error:
                event_id = event_id_of_any(pdu, version)
                if event_id is not None:
                    refused[event_id] = str(error)
                continue
            if event.room_id != room_id:
                refused[event.event_id] = "the event is of another room"
            else:
                events.setdefault(event.event_id, event)
        return CheckedPdus(events=tuple(events.values()), refused=refused)

    async def verify(self, events: Sequence[Event]) -> CheckedPdus:
        """Checks 2 and 3, signatures and hashes, of events that have been read. Who must have signed an event is asked
        of what is left of it: content that is not what was hashed must not spare it a signature."""
        checked = [_with_right_hash(event) for event in events]
        unverified = await self.keys.unverified(checked)
        passed = tuple(event for event in checked if event.event_id not in unverified)
        return CheckedPdus(events=passed, refused=unverified)


def _with_right_hash(event: Event) -> Event:
    """The event, redacted where its content is not what was hashed: the id and the signatures are of that form."""
    try:
        verify_content_hash(event.pdu, event.room_version)
    except BadSignature:
        return read_stored_pdu(redact(event.pdu, event.room_version), event.room_version, event.event_id)
    return event


def event_id_of_any(pdu: Any, version: RoomVersion) -> EventId | None:
    """The id of a PDU that is not well formed, so that the sender can be told which it was."""
    if not isinstance(pdu, dict):
        return None
    try:
        return event_id_of(pdu, version)
    except (ValueError, TypeError, AttributeError, KeyError):
        return None
