"""List the specification's operations as `METHOD path operationId file`, for operations.txt.

    python docs/spec/extract_operations.py FOLDER > docs/spec/operations.txt

FOLDER holds the OpenAPI documents of the Matrix specification, with `api/client-server/*.yaml` and
`api/server-server/*.yaml` in it. Two operations that share method and path (the specification sets them apart by a
space at the end of the path) are both listed, with the same path.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

APIS = ("client-server", "server-server")
METHODS = ("get", "put", "post", "delete", "patch", "head", "options")


def operations_of(folder: Path, api: str) -> Iterator[str]:
    """The lines of one API, in the order of its files and their paths."""
    for document_path in sorted((folder / "api" / api).glob("*.yaml")):
        document = yaml.safe_load(document_path.read_text(encoding="utf-8"))
        base = document["servers"][0]["variables"]["basePath"]["default"]
        for path, operations in document["paths"].items():
            for method in METHODS:
                if method in operations:
                    operation_id = operations[method]["operationId"]
                    yield f"{method.upper()} {base}{path.strip()} {operation_id} {api}/{document_path.name}"


def main() -> None:
    """Print the lines of every API; the folder is the only argument."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for api in APIS:
        sys.stdout.writelines(f"{line}\n" for line in operations_of(Path(sys.argv[1]), api))


if __name__ == "__main__":
    main()
