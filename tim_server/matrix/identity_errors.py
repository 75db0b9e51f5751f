"""Errors about identity servers, which know whose address is whose."""

from tim_server.matrix.errors import MatrixError


class ServerNotTrusted(MatrixError):
    """M_SERVER_NOT_TRUSTED: the request names an identity server that this server does not contact."""

    errcode = "M_SERVER_NOT_TRUSTED"
    status = 403
    default_message = "This server does not contact the identity server"


class TermsNotSigned(MatrixError):
    """M_TERMS_NOT_SIGNED: the identity server wants its terms to be agreed to first."""

    errcode = "M_TERMS_NOT_SIGNED"
    status = 403
    default_message = "The identity server wants its terms of service to be agreed to first"
