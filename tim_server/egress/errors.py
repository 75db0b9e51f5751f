"""What may go wrong with an outgoing request. Services turn these into what a client sees."""


class OutgoingError(Exception):
    """An outgoing request was not made, or has no answer. The text names hosts and reasons, never content."""


class ContactRefused(OutgoingError):
    """The trust gate, or a rule of this server, forbids the contact. Trying again does not help."""


class GateRefused(ContactRefused):
    """The trust gate forbids the contact."""


class RemoteUnreachable(OutgoingError):
    """The other side could not be reached in time: names, addresses, TLS, or silence. Try again later."""


class ResponseRefused(OutgoingError):
    """The other side's answer is larger than allowed, or redirects to where we don't go."""


class ResponseTooLarge(ResponseRefused):
    """The other side's answer is larger than allowed."""


class AddressRefused(OSError):
    """An address that this server does not connect to. An OSError, so that the next address is tried."""
