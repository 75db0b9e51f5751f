"""A disk that is full, a small one in memory: uploads are refused, and nothing is broken afterwards."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.eventually import eventually
from tests.files import MIB, download, in_chunks, upload, uploaded
from tests.people import MEDIA_STORE, Hospital, run_hospital
from tests.s3 import run_s3

pytestmark = pytest.mark.long

DISK_BYTES = 6 * MIB
AT_ONCE = 6
BUCKET = "hospital-files"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "small"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(path)]
    try:
        done = subprocess.run(mount, check=False, capture_output=True)
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if done.returncode != 0:
        pytest.skip("only root may mount disks")
    yield path
    subprocess.run(["umount", str(path)], check=True)


@pytest.fixture(params=["folder", "bucket"])
async def hospital(
    request: pytest.FixtureRequest, make_tenant_dsn: Callable[[], Awaitable[str]], tmp_path: Path, small_disk: Path
) -> AsyncIterator[Hospital]:
    """Its files are on the small disk, or pass it on their way to a bucket."""
    options = {**MEDIA_STORE, "folder": str(small_disk)}
    dsn = await make_tenant_dsn()
    if request.param == "folder":
        async with run_hospital(dsn, tmp_path, process={"media_store": options}) as hospital:
            yield hospital
        return
    async with run_s3() as s3:
        await s3.make_bucket(BUCKET)
        options["s3"] = s3.options(BUCKET)
        async with run_hospital(dsn, tmp_path, process={"media_store": options}) as hospital:
            yield hospital


async def bytes_on(disk: Path) -> int:
    return _bytes_on(disk)


def _bytes_on(disk: Path) -> int:
    return sum(path.stat().st_size for path in disk.rglob("*") if path.is_file())


async def test_a_full_disk_refuses_files_and_breaks_nothing(hospital: Hospital, small_disk: Path) -> None:
    alice = await hospital.person()
    content = b"kept before" * 50_000
    kept = {await uploaded(alice, content): content}
    used = await bytes_on(small_disk)
    status, answer = await upload(alice, in_chunks(2 * DISK_BYTES))
    assert (status, answer["errcode"]) == (507, "M_UNKNOWN")
    await eventually(lambda: bytes_on(small_disk), lambda left: left <= used)  # it is removed in the background
    several = [upload(alice, in_chunks(DISK_BYTES // 2)) for _ in range(AT_ONCE)]
    statuses = [status for status, _ in await asyncio.gather(*several)]
    assert set(statuses) <= {200, 507} and 507 in statuses
    small = b"kept after" * 10_000
    kept[await uploaded(alice, small)] = small
    for file, expected in kept.items():
        assert (await download(alice, file)).body == expected
    assert "next_batch" in await alice.get("sync", timeout=0)
