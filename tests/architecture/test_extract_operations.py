"""The script that lists the specification's operations, on two documents of its own."""

import subprocess
import sys
from pathlib import Path

from tests.architecture.operations import OPERATIONS_FILE
from tests.architecture.sources import ROOT

SCRIPT = ROOT / "docs/spec/extract_operations.py"
DOCUMENT = """
servers:
  - url: "{protocol}://{hostname}{basePath}"
    variables:
      basePath:
        default: /_matrix/client/v3
paths:
  "/rooms/{roomId}/invite":
    post: {operationId: inviteUser}
  "/rooms/{roomId}/invite ":
    post: {operationId: inviteBy3PID}
  "/rooms/{roomId}/tags":
    parameters: []
    put: {operationId: setTag}
    get: {operationId: getTags}
"""


def extract(folder: Path) -> list[str]:
    finished = subprocess.run([sys.executable, str(SCRIPT), str(folder)], capture_output=True, text=True, check=True)
    return finished.stdout.splitlines()


def test_operations_are_listed_with_method_path_id_and_file(tmp_path: Path) -> None:
    for api in ("client-server", "server-server"):
        (tmp_path / "api" / api).mkdir(parents=True)
    (tmp_path / "api/client-server/inviting.yaml").write_text(DOCUMENT)
    assert extract(tmp_path) == [
        "POST /_matrix/client/v3/rooms/{roomId}/invite inviteUser client-server/inviting.yaml",
        "POST /_matrix/client/v3/rooms/{roomId}/invite inviteBy3PID client-server/inviting.yaml",
        "GET /_matrix/client/v3/rooms/{roomId}/tags getTags client-server/inviting.yaml",
        "PUT /_matrix/client/v3/rooms/{roomId}/tags setTag client-server/inviting.yaml",
    ]


def test_without_a_folder_it_says_how_it_is_used() -> None:
    finished = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, check=False)
    assert finished.returncode != 0 and "FOLDER" in finished.stderr


def test_the_stored_list_holds_both_apis() -> None:
    lines = OPERATIONS_FILE.read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(set(lines))
    assert {line.rpartition(" ")[2].partition("/")[0] for line in lines} == {"client-server", "server-server"}
