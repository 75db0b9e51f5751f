"""`tim-server keys rotate`: a new signing key, and the former one among those that are told as old."""

import time
from pathlib import Path

from tim_server.cli.user_accounts import choose_tenant
from tim_server.config.load import load_settings
from tim_server.config.signing_key import old_keys_path, rotate_signing_key

RESTART_MINUTES = 10
"""For how long the former key is still good: the server signs with it until it is restarted."""


def rotate(config: Path, *, server_name: str | None) -> str:
    """What was done, for people. Raises what `failures_told` tells."""
    settings = load_settings(config)
    path = settings.signing_key_path(choose_tenant(settings, server_name))
    key = rotate_signing_key(path, last_used_ms=time.time_ns() // 1_000_000 + RESTART_MINUTES * 60_000)
    return (
        f"The new key is {key.key_id}, in {path}; the public part of the former one is in {old_keys_path(path)}.\n"
        f"Restart the server within {RESTART_MINUTES} minutes: what it signs later with the former key, others do not "
        "believe."
    )
