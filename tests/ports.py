"""Ports for servers that tests start."""

import socket
from contextlib import ExitStack, suppress


def free_ports(count: int) -> range:
    """So many ports in a row on the loopback interface, of which none is taken now."""
    while True:
        with ExitStack() as stack, suppress(OSError, OverflowError):
            first = _bound(stack, 0)
            for offset in range(1, count):
                _bound(stack, first + offset)
            return range(first, first + count)


def _bound(stack: ExitStack, port: int) -> int:
    probe = stack.enter_context(socket.socket())
    probe.bind(("127.0.0.1", port))
    bound: int = probe.getsockname()[1]
    return bound
