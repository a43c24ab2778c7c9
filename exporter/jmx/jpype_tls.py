"""Gives the Java machine its TLS: trust and our own certificate out of PEM text, in memory, as what everything in that machine uses."""

from __future__ import annotations

import base64
import re
from typing import Any

import jpype

_KEY = re.compile(r"-----BEGIN ([A-Z ]*)PRIVATE KEY-----(.*?)-----END", re.DOTALL)
_KEY_ALGORITHMS = ("RSA", "EC", "EdDSA")


def default_context(tls: dict[str, Any]) -> Any:
    """Make a javax.net.ssl.SSLContext of ``ca``, ``certificate`` and ``key`` (PEM text or None) and set it as the machine's.

    A node's stub brings Java's own socket factory, which knows no other than the machine's. Java's errors pass through.
    """
    context = jpype.JClass("javax.net.ssl.SSLContext").getInstance("TLS")
    own = _own_keys(tls["certificate"], tls["key"]) if tls["certificate"] else None
    trusted = _trust(tls["ca"]) if tls["ca"] else None
    context.init(own, trusted, None)
    jpype.JClass("javax.net.ssl.SSLContext").setDefault(context)
    return context


def _trust(pem: str) -> Any:
    store = _empty_store()
    for number, certificate in enumerate(_certificates(pem)):
        store.setCertificateEntry(f"ca-{number}", certificate)
    factory = jpype.JClass("javax.net.ssl.TrustManagerFactory")
    made = factory.getInstance(factory.getDefaultAlgorithm())
    made.init(store)
    return made.getTrustManagers()


def _own_keys(certificate: str, key: str) -> Any:
    chain = jpype.JArray(jpype.JClass("java.security.cert.Certificate"))(_certificates(certificate))
    store = _empty_store()
    # The store never leaves the memory of this process.
    no_password = jpype.JArray(jpype.JChar)(0)
    store.setKeyEntry("own", _private_key(key), no_password, chain)
    factory = jpype.JClass("javax.net.ssl.KeyManagerFactory")
    made = factory.getInstance(factory.getDefaultAlgorithm())
    made.init(store, no_password)
    return made.getKeyManagers()


def _empty_store() -> Any:
    store = jpype.JClass("java.security.KeyStore").getInstance("PKCS12")
    store.load(None, None)
    return store


def _certificates(pem: str) -> list[Any]:
    stream = jpype.JClass("java.io.ByteArrayInputStream")(jpype.JArray(jpype.JByte)(pem.encode()))
    return list(jpype.JClass("java.security.cert.CertificateFactory").getInstance("X.509").generateCertificates(stream))


def _private_key(pem: str) -> Any:
    found = _KEY.search(pem)
    invalid = jpype.JClass("java.security.spec.InvalidKeySpecException")
    if found is None or found[1]:
        kind = f"{found[1]}PRIVATE KEY" if found is not None else "no private key"
        raise invalid(
            f"the key file holds {kind}; it must be an unencrypted PKCS #8 key (BEGIN PRIVATE KEY), see openssl pkcs8 -topk8 -nocrypt"
        )
    encoded = jpype.JArray(jpype.JByte)(base64.b64decode("".join(found[2].split())))
    spec = jpype.JClass("java.security.spec.PKCS8EncodedKeySpec")(encoded)
    for algorithm in _KEY_ALGORITHMS:
        try:
            return jpype.JClass("java.security.KeyFactory").getInstance(algorithm).generatePrivate(spec)
        except invalid:
            continue
    raise invalid(f"the key is none of {', '.join(_KEY_ALGORITHMS)}")
