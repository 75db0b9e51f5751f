"""What goes wrong for reasons an operator can do something about: one line on standard error, and an exit code."""

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tim_server.config.load import ConfigurationError
from tim_server.matrix.errors import MatrixError
from tim_server.services.directory_authority.errors import AuthorityFailed
from tim_server.storage.connect import DatabaseUnreachable
from tim_server.storage.embedded_install import EmbeddedPostgresError
from tim_server.storage.migrations import MigrationFailed

EXIT_FAILURE = 1
EXIT_UNAVAILABLE = 69  # a database or a port cannot be had; names and numbers are those of sysexits.h
EXIT_CONFIGURATION = 78


class CommandFailed(Exception):
    """The command cannot do what it was asked for; the message says why."""

    def __init__(self, message: str, *, exit_code: int = EXIT_FAILURE) -> None:
        self.exit_code = exit_code
        super().__init__(message)


@contextmanager
def failures_told() -> Iterator[None]:
    """Turn failures that an operator can mend into a message and an exit code; bugs keep their trace."""
    try:
        yield
    except BaseExceptionGroup as group:
        raise SystemExit(_tell(_first(group))) from None
    except Exception as error:
        raise SystemExit(_tell(error)) from None


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _tell(error: BaseException) -> int:
    """Print the message; the exit code. What is nobody's fault but ours is raised again."""
    exit_code = exit_code_of(error)
    if exit_code is None:
        raise error
    text = error.message if isinstance(error, MatrixError) else str(error)
    for line in text.splitlines():
        sys.stderr.write(f"tim-server: {line}\n")
    return exit_code


def exit_code_of(error: BaseException) -> int | None:
    """The exit code for failures of a kind that is expected, None for bugs."""
    match error:
        case CommandFailed():
            return error.exit_code
        case ConfigurationError():
            return EXIT_CONFIGURATION
        case DatabaseUnreachable() | EmbeddedPostgresError():
            return EXIT_UNAVAILABLE
        case OSError(errno=errno.EADDRINUSE | errno.EADDRNOTAVAIL | errno.EACCES):
            return EXIT_UNAVAILABLE
        case MigrationFailed() | MatrixError() | AuthorityFailed():
            return EXIT_FAILURE
    return None
