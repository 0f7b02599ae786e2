"""Addresses, `host:port`."""

from __future__ import annotations

import ipaddress


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
