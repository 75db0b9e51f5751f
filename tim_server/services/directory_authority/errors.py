"""What an authority can't do."""


class AuthorityFailed(Exception):
    """What was asked for can't be done; `str()` says why, and what to do about it."""
