"""Certificate authorities, and the files that processes are given of them."""

from __future__ import annotations

from pathlib import Path

import trustme

from longvideo.tls import Identity


class Authority:
    """An authority of the tests' own."""

    def __init__(self) -> None:
        self._ca = trustme.CA()
        self.pem = self._ca.cert_pem.bytes()

    def issue(self, folder: Path, *names: str, setting: str = "tls") -> Identity:
        """Writes a certificate for these names, or for this machine, with its key and the authority's own."""
        folder.mkdir(parents=True, exist_ok=True)
        made = self._ca.issue_cert(*(names or ("localhost", "127.0.0.1")))
        cert, key, ca = (folder / name for name in ("tls.crt", "tls.key", "ca.crt"))
        cert.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        key.write_bytes(made.private_key_pem.bytes())
        ca.write_bytes(self.pem)
        return Identity(cert, key, ca, setting)


def settings_of(identity: Identity) -> dict[str, str]:
    """Returns the settings that name the files."""
    return {"tls_cert": str(identity.cert), "tls_key": str(identity.key), "tls_ca": str(identity.ca)}
