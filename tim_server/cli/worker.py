"""One of several workers: `python -m tim_server.cli.worker CONFIG INDEX COUNT`, started by `serve --workers`.

It stops on SIGTERM, and when its standard input, a pipe from the parent, closes.
"""

import asyncio
import os
import sys
from pathlib import Path

from tim_server.cli.databases import open_databases
from tim_server.cli.event_loop import run
from tim_server.cli.failures import failures_told
from tim_server.config.load import load_settings


def main() -> None:
    """Serve until told to stop."""
    config, index, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    with failures_told():
        settings = load_settings(config).with_workers(count)
        with open_databases(settings) as databases:
            from tim_server.app import run_process

            async def serve(stop: asyncio.Event) -> None:
                _stop_when_orphaned(stop)
                await run_process(databases.settings, worker_index=index, worker_count=count, stop=stop)

            run(serve)


def _stop_when_orphaned(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    standard_input = sys.stdin.fileno()

    def look() -> None:
        if not os.read(standard_input, 1):
            loop.remove_reader(standard_input)
            stop.set()

    loop.add_reader(standard_input, look)


if __name__ == "__main__":
    main()
