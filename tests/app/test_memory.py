"""Memory that was freed goes back to the system, and what few need is not loaded."""

import subprocess
import sys

import pytest

HASHING = """
from concurrent.futures import ThreadPoolExecutor
from argon2 import PasswordHasher
from tim_server.app.memory import give_back_freed_memory

def resident_mib():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20

give_back_freed_memory()
hasher = PasswordHasher(time_cost=1, memory_cost=19_456, parallelism=1)
before = resident_mib()
with ThreadPoolExecutor(2) as threads:
    list(threads.map(hasher.hash, ["a", "b", "c", "d"]))
    print(resident_mib() - before)
"""

SERVING = """
import sys
import tim_server.app
print(*(name for name in ("cryptography", "authlib", "pytest") if name in sys.modules))
"""


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_threads_that_hashed_passwords_keep_nothing() -> None:
    assert float(run(HASHING)) < 15


def test_serving_does_not_load_what_few_need() -> None:
    assert run(SERVING) == ""
