"""Which network interface of this machine leads to node 0 of a job."""

import fcntl
import socket
import struct
from contextlib import suppress
from pathlib import Path

from nofrost.ranks import Node

# On Linux, this request returns the IPv4 address of an interface.
_SIOCGIFADDR = 0x8915


def interface_to(node: Node) -> str | None:
    """Return the name of the interface with the address from which node 0 is reached, such as "eth0".

    None where this cannot be found out: the system is not Linux, or there is no way to node 0 yet.
    """
    with suppress(OSError, UnicodeError):
        family, _, _, _, place = socket.getaddrinfo(node.host, node.port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            # With a datagram socket this sends nothing: the kernel only chooses the way.
            probe.connect(place)
            address = probe.getsockname()[0]
        addresses = _ipv6_addresses() if family == socket.AF_INET6 else _ipv4_addresses()
        return addresses.get(socket.inet_pton(family, address))
    return None


def _ipv4_addresses() -> dict[bytes, str]:
    found = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in socket.if_nameindex():
            with suppress(OSError):
                answer = fcntl.ioctl(asked.fileno(), _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                found[answer[20:24]] = name
    return found


def _ipv6_addresses() -> dict[bytes, str]:
    lines = Path("/proc/net/if_inet6").read_text(encoding="ascii").splitlines()
    return {bytes.fromhex(line.split()[0]): line.split()[-1] for line in lines}
