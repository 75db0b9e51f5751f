"""How many files a process may have open, which is also how many connections: more than the system lets it must never
be accepted, as nothing works then, not even the database."""

import resource

import structlog

from tim_server.config.settings import Settings

_log = structlog.get_logger("web")

_OTHER_FILES = 64  # the log, listeners, certificates, libraries
_SHARE_OF_CONNECTIONS = 0.75  # connections are counted a moment after they were accepted


def raise_open_files_limit() -> None:
    """Let this process, and those that it starts, have as many open files as the administrator of the machine allows:
    shells and service managers start programs with 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def connections_per_listener_max(settings: Settings) -> int:
    """`limits.connections_max`, or what the limit of open files leaves for each listener; logs where that is less."""
    wanted = settings.limits.connections_max
    open_files_max, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if open_files_max == resource.RLIM_INFINITY:
        return wanted
    listener_count = sum(1 for each in settings.listeners if each.is_public)
    left = open_files_max - settings.database.connections_max - _OTHER_FILES
    possible = max(1, int(left * _SHARE_OF_CONNECTIONS) // max(1, listener_count))
    if possible < wanted:
        _log.warning(
            "open_files_limit_too_low", open_files_max=open_files_max, connections_max=possible, configured=wanted
        )
    return min(wanted, possible)
