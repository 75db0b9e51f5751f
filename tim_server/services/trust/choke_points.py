"""Where the trust gate is asked, and where else decisions about trust are taken."""

from enum import StrEnum


class ChokePoint(StrEnum):
    """Where the gate is asked."""

    CLIENT_REQUEST = "client request"
    EVENT_CREATION = "event creation"
    INCOMING_FEDERATION = "incoming federation"
    OUTGOING_CONNECTION = "outgoing connection"
    MEMBERSHIP = "invite or join"


MEMBERS_OF_THE_DIRECTORY = "directory"
"""The place of decisions that nobody asked for: a new directory lists a server, or lists it no more."""

DECISION_POINTS: tuple[str, ...] = (*ChokePoint, MEMBERS_OF_THE_DIRECTORY)
