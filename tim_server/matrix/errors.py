"""Errors that a client or a peer sees, and verdicts that services interpret.

`MatrixError` and its subclasses carry the errcode and the HTTP status of the specification's standard error response;
`web/errors.py` is the one place that turns them into responses. Messages never carry message content, tokens or keys.

Spec: https://spec.matrix.org/v1.19/client-server-api/#standard-error-response
"""

from typing import Any, ClassVar


class MatrixError(Exception):
    """A standard error response: `errcode`, HTTP `status`, a message for people, and further fields of the body."""

    errcode: ClassVar[str] = "M_UNKNOWN"
    status: ClassVar[int] = 400
    default_message: ClassVar[str] = "The request could not be carried out"

    def __init__(self, message: str | None = None, **extra: Any) -> None:
        self.message = message or self.default_message
        self.extra = extra
        super().__init__(self.message)

    def body(self) -> dict[str, Any]:
        """The JSON body: `{"errcode", "error", …extra}`."""
        return {"errcode": self.errcode, "error": self.message, **self.extra}


class EventRejected(Exception):
    """An event fails an authorisation or format rule. Not a response: services decide what the client sees."""


class BadSignature(Exception):
    """A signature or content hash does not verify, or is missing."""


class Unknown(MatrixError):
    """M_UNKNOWN: the request could not be carried out."""

    errcode = "M_UNKNOWN"
    status = 400
    default_message = "The request could not be carried out"


class InternalError(MatrixError):
    """M_UNKNOWN: internal server error."""

    errcode = "M_UNKNOWN"
    status = 500
    default_message = "Internal server error"


class Unavailable(MatrixError):
    """M_UNKNOWN: the server is not able to answer now; try again."""

    errcode = "M_UNKNOWN"
    status = 503
    default_message = "The server is not able to answer now; try again"


class Unrecognized(MatrixError):
    """M_UNRECOGNIZED: unrecognized request."""

    errcode = "M_UNRECOGNIZED"
    status = 404
    default_message = "Unrecognized request"


class MethodNotAllowed(MatrixError):
    """M_UNRECOGNIZED: method not allowed at this path."""

    errcode = "M_UNRECOGNIZED"
    status = 405
    default_message = "Method not allowed at this path"


class Forbidden(MatrixError):
    """M_FORBIDDEN: not allowed."""

    errcode = "M_FORBIDDEN"
    status = 403
    default_message = "Not allowed"


class InviteBlocked(MatrixError):
    """M_INVITE_BLOCKED: the user takes no invites."""

    errcode = "M_INVITE_BLOCKED"
    status = 403
    default_message = "The user takes no invites"


class MissingToken(MatrixError):
    """M_MISSING_TOKEN: no access token was given."""

    errcode = "M_MISSING_TOKEN"
    status = 401
    default_message = "No access token was given"


class UnknownToken(MatrixError):
    """M_UNKNOWN_TOKEN: the access token is not known."""

    errcode = "M_UNKNOWN_TOKEN"
    status = 401
    default_message = "The access token is not known"


class UnauthorizedForbidden(MatrixError):
    """M_FORBIDDEN: authentication failed."""

    errcode = "M_FORBIDDEN"
    status = 401
    default_message = "Authentication failed"


class UserLocked(MatrixError):
    """M_USER_LOCKED: this account is locked."""

    errcode = "M_USER_LOCKED"
    status = 401
    default_message = "This account is locked"


class UserSuspended(MatrixError):
    """M_USER_SUSPENDED: this account is suspended."""

    errcode = "M_USER_SUSPENDED"
    status = 403
    default_message = "This account is suspended"


class UserDeactivated(MatrixError):
    """M_USER_DEACTIVATED: this account has been deactivated."""

    errcode = "M_USER_DEACTIVATED"
    status = 403
    default_message = "This account has been deactivated"


class GuestAccessForbidden(MatrixError):
    """M_GUEST_ACCESS_FORBIDDEN: guests may not do this."""

    errcode = "M_GUEST_ACCESS_FORBIDDEN"
    status = 403
    default_message = "Guests may not do this"


class BadJson(MatrixError):
    """M_BAD_JSON: the JSON is valid, but not what this endpoint takes."""

    errcode = "M_BAD_JSON"
    status = 400
    default_message = "The JSON is valid, but not what this endpoint takes"


class NotJson(MatrixError):
    """M_NOT_JSON: the body is not JSON."""

    errcode = "M_NOT_JSON"
    status = 400
    default_message = "The body is not JSON"


class NotFound(MatrixError):
    """M_NOT_FOUND: not found."""

    errcode = "M_NOT_FOUND"
    status = 404
    default_message = "Not found"


class LimitExceeded(MatrixError):
    """M_LIMIT_EXCEEDED: too many requests."""

    errcode = "M_LIMIT_EXCEEDED"
    status = 429
    default_message = "Too many requests"


class MissingParam(MatrixError):
    """M_MISSING_PARAM: a required parameter is missing."""

    errcode = "M_MISSING_PARAM"
    status = 400
    default_message = "A required parameter is missing"


class InvalidParam(MatrixError):
    """M_INVALID_PARAM: a parameter has a wrong value."""

    errcode = "M_INVALID_PARAM"
    status = 400
    default_message = "A parameter has a wrong value"


class TooLarge(MatrixError):
    """M_TOO_LARGE: the request or event is too large."""

    errcode = "M_TOO_LARGE"
    status = 413
    default_message = "The request or event is too large"


class UserInUse(MatrixError):
    """M_USER_IN_USE: the user ID is taken."""

    errcode = "M_USER_IN_USE"
    status = 400
    default_message = "The user ID is taken"


class InvalidUsername(MatrixError):
    """M_INVALID_USERNAME: the user name is not valid."""

    errcode = "M_INVALID_USERNAME"
    status = 400
    default_message = "The user name is not valid"


class Exclusive(MatrixError):
    """M_EXCLUSIVE: this name is reserved by an application service."""

    errcode = "M_EXCLUSIVE"
    status = 400
    default_message = "This name is reserved by an application service"


class RoomInUse(MatrixError):
    """M_ROOM_IN_USE: the room alias is taken."""

    errcode = "M_ROOM_IN_USE"
    status = 400
    default_message = "The room alias is taken"


class AliasExists(MatrixError):
    """M_UNKNOWN with 409: a room alias with that name already exists."""

    errcode = "M_UNKNOWN"
    status = 409
    default_message = "A room alias with that name already exists"


class InvalidRoomState(MatrixError):
    """M_INVALID_ROOM_STATE: the initial state of the room is not valid."""

    errcode = "M_INVALID_ROOM_STATE"
    status = 400
    default_message = "The initial state of the room is not valid"


class UnsupportedRoomVersion(MatrixError):
    """M_UNSUPPORTED_ROOM_VERSION: this room version is not supported."""

    errcode = "M_UNSUPPORTED_ROOM_VERSION"
    status = 400
    default_message = "This room version is not supported"


class IncompatibleRoomVersion(MatrixError):
    """M_INCOMPATIBLE_ROOM_VERSION: the room has a version that the other server does not support."""

    errcode = "M_INCOMPATIBLE_ROOM_VERSION"
    status = 400
    default_message = "The room has a version that the other server does not support"


class BadState(MatrixError):
    """M_BAD_STATE: the state change is not possible."""

    errcode = "M_BAD_STATE"
    status = 400
    default_message = "The state change is not possible"


class BadAlias(MatrixError):
    """M_BAD_ALIAS: the alias does not point to this room."""

    errcode = "M_BAD_ALIAS"
    status = 400
    default_message = "The alias does not point to this room"


class DuplicateAnnotation(MatrixError):
    """M_DUPLICATE_ANNOTATION: the annotation exists already."""

    errcode = "M_DUPLICATE_ANNOTATION"
    status = 400
    default_message = "The annotation exists already"


class WeakPassword(MatrixError):
    """M_WEAK_PASSWORD: the password is too weak."""

    errcode = "M_WEAK_PASSWORD"
    status = 400
    default_message = "The password is too weak"


class CannotLeaveServerNoticeRoom(MatrixError):
    """M_CANNOT_LEAVE_SERVER_NOTICE_ROOM: the server notices room can't be left."""

    errcode = "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM"
    status = 403
    default_message = "The server notices room can't be left"


class UnableToAuthoriseJoin(MatrixError):
    """M_UNABLE_TO_AUTHORISE_JOIN: this server cannot tell whether the join is allowed."""

    errcode = "M_UNABLE_TO_AUTHORISE_JOIN"
    status = 400
    default_message = "This server cannot tell whether the join is allowed"


class UnableToGrantJoin(MatrixError):
    """M_UNABLE_TO_GRANT_JOIN: no local user can authorise the join."""

    errcode = "M_UNABLE_TO_GRANT_JOIN"
    status = 400
    default_message = "No local user can authorise the join"


class UnknownPos(MatrixError):
    """M_UNKNOWN_POS: the position is not known; start again without it."""

    errcode = "M_UNKNOWN_POS"
    status = 400
    default_message = "The position is not known; start again without it"


class ResourceLimitExceeded(MatrixError):
    """M_RESOURCE_LIMIT_EXCEEDED: the server has reached a limit."""

    errcode = "M_RESOURCE_LIMIT_EXCEEDED"
    status = 403
    default_message = "The server has reached a limit"


class InteractiveAuthRequired(MatrixError):
    """401 of user-interactive authentication: `flows`, `params`, `session`, `completed`, and after a failed attempt
    the `errcode` and `error` of it.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#user-interactive-api-in-the-rest-api
    """

    status = 401
    default_message = "User-interactive authentication is required"

    def __init__(self, *, failure: MatrixError | None, **fields: Any) -> None:
        super().__init__(**fields)
        self.failure = failure

    def body(self) -> dict[str, Any]:
        """The JSON body: an errcode only where an attempt has failed."""
        return {**({} if self.failure is None else self.failure.body()), **self.extra}


class ThreepidDenied(MatrixError):
    """M_THREEPID_DENIED: this third-party identifier is not allowed."""

    errcode = "M_THREEPID_DENIED"
    status = 403
    default_message = "This third-party identifier is not allowed"


class ThreepidNotFound(MatrixError):
    """M_THREEPID_NOT_FOUND: no account has this third-party identifier."""

    errcode = "M_THREEPID_NOT_FOUND"
    status = 400
    default_message = "No account has this third-party identifier"


class KeyTooLarge(MatrixError):
    """M_KEY_TOO_LARGE: the name of the profile field is too long."""

    errcode = "M_KEY_TOO_LARGE"
    status = 400
    default_message = "The name of the profile field is too long"


class ProfileTooLarge(MatrixError):
    """M_PROFILE_TOO_LARGE: the profile would exceed 64 KiB."""

    errcode = "M_PROFILE_TOO_LARGE"
    status = 400
    default_message = "The profile would exceed 64 KiB"


class ServerManagedAccountData(MatrixError):
    """M_BAD_JSON with 405: account data of this type is controlled by the server."""

    errcode = "M_BAD_JSON"
    status = 405
    default_message = "Account data of this type is controlled by the server"
