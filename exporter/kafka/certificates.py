"""Reads the certificates of a listener by a TLS handshake of our own, whether they would be accepted or not, and those in our own files."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from cryptography import x509

from exporter.facts.certificates import Certificate, CertificateFile, Chain, Listener
from exporter.kafka.bounded import Deadline, Resolver
from exporter.kafka.errors import AuthenticationFailed, ConnectionLost, KafkaError, NameLookupFailed, Refused, TimedOut
from exporter.kafka.security import SecurityConfig

_DER: Final = 2
"""What ``public_bytes`` of the ssl module's own certificates calls DER; see :func:`_shown`."""


def chain_of(
    listener: Listener, security: SecurityConfig, resolver: Resolver, deadline: Callable[[], Deadline]
) -> Chain:
    """Two handshakes: one that accepts everything, to see it, and one with our settings, to know whether they do. Each is bounded by a deadline. Raises KafkaError."""
    loose = security.context() or ssl.create_default_context()
    loose.check_hostname, loose.verify_mode = False, ssl.CERT_NONE
    certificates = tuple(map(_certificate, _handshake(listener, loose, resolver, deadline())))
    strict = security.context()
    if strict is None:
        return Chain(certificates, None)
    try:
        _handshake(listener, strict, resolver, deadline())
    except AuthenticationFailed as error:
        refusal = error.__cause__
        if not isinstance(refusal, ssl.SSLCertVerificationError):
            raise
        return Chain(certificates, False, refusal.verify_message)
    return Chain(certificates, True)


def own_certificates(security: SecurityConfig) -> tuple[CertificateFile, ...]:
    """What stands in the files of the configuration: our own certificate and those that we trust."""
    return tuple(_in_file(path) for path in (security.certificate_file, security.ca_file) if path)


def _in_file(path: str) -> CertificateFile:
    try:
        found = x509.load_pem_x509_certificates(Path(path).read_bytes())
    except (OSError, ValueError) as error:
        return CertificateFile(path, (), getattr(error, "strerror", None) or str(error))
    return CertificateFile(path, tuple(map(_read, found)))


def _certificate(der: bytes) -> Certificate:
    try:
        return _read(x509.load_der_x509_certificate(der))
    except ValueError as error:
        raise KafkaError(f"a certificate cannot be decoded: {error}") from error


def _read(found: x509.Certificate) -> Certificate:
    return Certificate(
        found.subject.rfc4514_string(),
        found.issuer.rfc4514_string(),
        found.not_valid_before_utc.timestamp(),
        found.not_valid_after_utc.timestamp(),
    )


def _handshake(listener: Listener, context: ssl.SSLContext, resolver: Resolver, deadline: Deadline) -> Iterable[bytes]:
    """The chain that the peer shows (DER). Raises KafkaError."""
    where: dict[str, Any] = {"node": listener.node, "address": listener.address, "request": "TLS"}
    try:
        deadline.phase = "name look-up"
        addresses = resolver.addresses(listener.host, listener.port, deadline.left())
        deadline.phase = "connect"
        with _connected([a[4] for a in addresses], deadline) as plain:
            deadline.phase = "TLS handshake"
            with context.wrap_socket(plain, server_hostname=listener.host, do_handshake_on_connect=False) as tls:
                tls.settimeout(deadline.left())
                tls.do_handshake()
                return _shown(tls)
    except TimeoutError as error:
        raise TimedOut(f"no answer in time ({deadline.phase})", phase=deadline.phase, **where) from error
    except ConnectionRefusedError as error:
        raise Refused("connection refused", **where) from error
    except socket.gaierror as error:
        raise NameLookupFailed(f"{listener.host} cannot be resolved: {error.strerror}", **where) from error
    except ssl.SSLError as error:
        raise AuthenticationFailed(f"TLS: {error.reason or error}", **where) from error
    except OSError as error:
        raise ConnectionLost(error.strerror or str(error), **where) from error


def _connected(addresses: list[Any], deadline: Deadline) -> socket.socket:
    """A connection to the first address that takes us, each of which gets its share of the time."""
    failure: OSError = OSError("the name has no address")
    for i, address in enumerate(addresses):
        try:
            return socket.create_connection(address[:2], deadline.left() / (len(addresses) - i))
        except OSError as error:
            failure = error
    raise failure


def _shown(tls: ssl.SSLSocket) -> list[bytes]:
    """The whole chain: public since Python 3.13, an inner method before; only the peer's own certificate where there is neither."""
    public = getattr(tls, "get_unverified_chain", None)
    if public is not None:
        return list(public())
    inner = getattr(getattr(tls, "_sslobj", None), "get_unverified_chain", None)
    if inner is not None:
        return [c.public_bytes(_DER) for c in inner() or ()]
    return [der for der in [tls.getpeercert(binary_form=True)] if der]
