"""Connections are bounded by the files that the process may open."""

import resource

import pytest

from tim_server.app.open_files import connections_per_listener_max
from tim_server.config.settings import Settings

SETTINGS = Settings.model_validate(
    {
        "data_dir": "/",
        "tenants": [{"server_name": "a.example"}],
        "limits": {"connections_max": 5_000},
        "database": {"connections_max": 36},
        "listeners": [{"port": 1}, {"port": 2}, {"port": 3, "resources": ["health"]}],
    }
)


@pytest.mark.parametrize(
    ("open_files_max", "connections"),
    [(resource.RLIM_INFINITY, 5_000), (100_000, 5_000), (1_100, 375), (64, 1)],
)
def test_each_listener_gets_its_share_of_the_open_files(
    monkeypatch: pytest.MonkeyPatch, open_files_max: int, connections: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (open_files_max, open_files_max))
    assert connections_per_listener_max(SETTINGS) == connections
