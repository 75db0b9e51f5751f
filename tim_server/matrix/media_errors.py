"""Errors of the content repository.

Spec: https://spec.matrix.org/v1.19/client-server-api/#content-repository
"""

from tim_server.matrix.errors import MatrixError


class UploadTooSlow(MatrixError):
    """M_UNKNOWN with 408: the file has not come in the time that there is for it."""

    errcode = "M_UNKNOWN"
    status = 408
    default_message = "The file took too long to arrive"


class QuotaExceeded(MatrixError):
    """M_FORBIDDEN: the user has uploaded as much as users may."""

    errcode = "M_FORBIDDEN"
    status = 403
    default_message = "You have used up the space that you have for files"


class StorageFull(MatrixError):
    """M_UNKNOWN with 507: there is no space left for the file."""

    errcode = "M_UNKNOWN"
    status = 507
    default_message = "The server has no space left for files"


class MalwareFound(MatrixError):
    """M_FORBIDDEN: there is malware in the file."""

    errcode = "M_FORBIDDEN"
    status = 403
    default_message = "The file contains malware"


class ScanImpossible(MatrixError):
    """M_FORBIDDEN: the file can't be scanned for malware, and only what was scanned is taken."""

    errcode = "M_FORBIDDEN"
    status = 403
    default_message = "The file can't be scanned for malware"


class ScanUnavailable(MatrixError):
    """M_UNKNOWN with 503: nothing can be scanned for malware now, and only what was scanned is taken."""

    errcode = "M_UNKNOWN"
    status = 503
    default_message = "Files can't be scanned for malware now; try again later"


class RemoteFileTooLarge(MatrixError):
    """M_TOO_LARGE with 502: another server's file is larger than this server serves."""

    errcode = "M_TOO_LARGE"
    status = 502
    default_message = "The file is too large to be served"


class CannotOverwriteMedia(MatrixError):
    """M_CANNOT_OVERWRITE_MEDIA with 409: the file is there already."""

    errcode = "M_CANNOT_OVERWRITE_MEDIA"
    status = 409
    default_message = "The file has been uploaded already"


class NotYetUploaded(MatrixError):
    """M_NOT_YET_UPLOADED: the file is announced, but not there yet."""

    errcode = "M_NOT_YET_UPLOADED"
    status = 504
    default_message = "The file has not been uploaded yet"
