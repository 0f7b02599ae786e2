"""Addresses, `host:port`, and the URLs of what is reached by gRPC."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


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


def check_collector(url: str) -> str:
    """Returns the URL of an OTLP collector, empty for none. Raises ValueError when it is not `http://host:port`."""
    if url:
        try:
            parts = urlsplit(url)
            wrong = parts.scheme not in {"http", "https"} or parts.path.strip("/") or parts.query or parts.fragment
            if wrong or "@" in parts.netloc or not parts.port:
                raise ValueError
            check_address(parts.netloc)
        except ValueError:
            # Not shown: whoever gives a password here wants it kept.
            raise ValueError("it must look like https://host:4317, or http://host:4317 without TLS") from None
    return url


def collector_address(url: str) -> tuple[str, bool]:
    """Returns the address of a collector, and whether it has TLS."""
    parts = urlsplit(url)
    return parts.netloc, parts.scheme == "https"
