"""Addresses, `host:port`."""

from __future__ import annotations

import ipaddress


def check_address(address: str) -> str:
    """Returns the address. Raises ValueError when it is not `host:port`."""
    host, _, port = address.rpartition(":")
    bare = not host.startswith("[") and ":" in host
    if not host.strip("[]") or bare or not port.isascii() or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{address!r} must look like 127.0.0.1:7700, [::1]:7700 or host:7700")
    return address


def host_of(address: str) -> str:
    """Returns the host of an address, without the brackets of an IPv6 one."""
    return address.rpartition(":")[0].strip("[]")


def is_loopback(address: str) -> bool:
    """Tells whether only this machine can reach an address."""
    host = host_of(address)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
