"""The network interface through which the processes of a job talk: the one that leads to node 0, or a chosen one."""

import fcntl
import os
import socket
import struct
from contextlib import suppress
from pathlib import Path

from nofrost.errors import UserError, shortened
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


def check_chosen_interface() -> None:
    """Check that this machine has the interfaces that GLOO_SOCKET_IFNAME names, if it is set.

    Raises:
        UserError: it has not.
    """
    known = [name for _, name in socket.if_nameindex()]
    for name in filter(None, os.environ.get("GLOO_SOCKET_IFNAME", "").split(",")):
        if name not in known:
            raise UserError(
                f"GLOO_SOCKET_IFNAME names {shortened(name)}, and this machine has the network interfaces "
                f"{', '.join(known)}: correct it, or unset it"
            )


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
