"""Certificates that listeners show, and those in Klaxon's own files."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Certificate:
    """Names by RFC 4514; times are Unix seconds."""

    subject: str
    issuer: str
    not_before: float
    not_after: float


@dataclass(frozen=True, slots=True)
class Listener:
    """A node's port that speaks TLS; ``name`` is the listener's in the broker's settings, empty where it is not known."""

    node: int
    name: str
    host: str
    port: int

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Chain:
    """What a listener showed in a TLS handshake, its own certificate first.

    ``verified``: whether Klaxon's security settings accept it, None where they do not say whom to trust; ``problem`` is why not.
    """

    certificates: tuple[Certificate, ...]
    verified: bool | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """One listener at one moment: its chain, or the kind of error and its words why there is none."""

    listener: Listener
    chain: Chain | None
    kind: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class CertificateFile:
    """The certificates in one of Klaxon's own files; ``problem`` says why it cannot be read."""

    path: str
    certificates: tuple[Certificate, ...]
    problem: str = ""
