"""An authority of the demo's own and the certificates that it signs, as PEM for Kafka and clients and as PKCS12 for the JVM's JMX."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509 import load_pem_x509_certificate

CA_FILE, CA_KEY_FILE = "ca.pem", "ca.key"
LIFETIME = dt.timedelta(days=365)
# Clocks of containers and hosts differ a little.
BACKDATED = dt.timedelta(minutes=5)


def make_authority(folder: Path) -> None:
    """Write a new authority: ca.pem is what clients trust, ca.key stays with the demo."""
    authority = trustme.CA(organization_name="Klaxon demo")
    authority.cert_pem.write_to_path(folder / CA_FILE)
    write_private(folder / CA_KEY_FILE, authority.private_key_pem.bytes())


def issue(
    folder: Path,
    name: str,
    *hosts: str,
    valid_for: dt.timedelta = LIFETIME,
    valid_from: dt.datetime | None = None,
) -> None:
    """Sign a certificate with CN `name` for `hosts` by the folder's authority; replaces NAME.pem, NAME.key and NAME.keystore.pem.

    `valid_from` (aware; default: now, a little backdated) and `valid_for` make short-lived, expired or future ones.
    """
    authority = trustme.CA.from_pem((folder / CA_FILE).read_bytes(), (folder / CA_KEY_FILE).read_bytes())
    start = valid_from or dt.datetime.now(dt.UTC) - BACKDATED
    end = start + valid_for + (BACKDATED if valid_from is None else dt.timedelta())
    made = authority.issue_cert(
        *(hosts or (name,)), common_name=name, organization_name="Klaxon demo", not_before=start, not_after=end
    )
    chain = b"".join(part.bytes() for part in made.cert_chain_pems)
    key = _pkcs8(made.private_key_pem.bytes())
    write_private(folder / f"{name}.key", key)
    write_private(folder / f"{name}.pem", chain)
    # Kafka wants key and chain of a PEM keystore in one file.
    write_private(folder / f"{name}.keystore.pem", key + chain)


def write_pkcs12(folder: Path, name: str, password: str) -> Path:
    """The key and certificate of `name` as NAME.p12: the JVM's own TLS reads no PEM."""
    key = serialization.load_pem_private_key((folder / f"{name}.key").read_bytes(), None)
    certificate = load_pem_x509_certificate((folder / f"{name}.pem").read_bytes())
    path = folder / f"{name}.p12"
    protection = serialization.BestAvailableEncryption(password.encode())
    # trustme makes elliptic keys only, which is one of the kinds that PKCS12 takes.
    write_private(
        path,
        pkcs12.serialize_key_and_certificates(name.encode(), key, certificate, None, protection),  # type: ignore[arg-type]
    )
    return path


def write_private(path: Path, content: bytes) -> None:
    """Replace a file as a whole, readable by its owner only from its first byte on."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    temporary.replace(path)


def _pkcs8(pem: bytes) -> bytes:
    """The only form of a private key that Kafka's PEM reader knows."""
    key = serialization.load_pem_private_key(pem, None)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
