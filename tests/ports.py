"""A port for a server that another process opens later."""

import random
import socket

# The system takes ports of outgoing connections from 32768 on (Linux), or higher: one of these would still be free now,
# and taken by any connection of another test until the process that is to listen there has loaded torch.
RANGE = range(20000, 32768)


def free_port() -> int:
    """Return a port of this machine that nothing listens on at this moment."""
    while True:
        port = random.choice(RANGE)
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
