"""Ports for servers that tests start."""

import random
import socket
from contextlib import ExitStack, suppress

PORTS = range(12_000, 32_000)
"""Below those that systems give to outgoing connections: one of them may take the port of a server while it is down."""


def free_ports(count: int) -> range:
    """So many ports in a row on the loopback interface, of which none is taken now."""
    while True:
        first = random.choice(PORTS[:-count])
        with ExitStack() as stack, suppress(OSError):
            for port in range(first, first + count):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return range(first, first + count)
