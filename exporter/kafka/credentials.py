"""What a cluster's connections prove themselves with: the configured files as they are now, taken up when they change."""

from __future__ import annotations

import ssl
import threading
import time
from dataclasses import dataclass
from typing import Any, Final

import structlog
from pydantic import SecretStr

from exporter.kafka.bounded import Detached, Monotonic
from exporter.kafka.errors import AuthenticationFailed, KafkaError
from exporter.kafka.oauth import TokenEndpoint
from exporter.kafka.security import PLAINTEXT, SecurityConfig
from exporter.quiet_log import QuietLog

LOOK_S: Final = 3.0
"""Seconds between two looks at the files while connections are kept."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What one connection proves itself with. ``version`` grows when files change; ``secret`` is a password, a client's secret or a token."""

    version: int
    context: ssl.SSLContext | None
    secret: SecretStr


class Credentials:
    """One for all connections of a cluster; thread-safe. A changed file that cannot be used is told once, and what was read before stays in use."""

    def __init__(
        self,
        security: SecurityConfig,
        cluster: str = "",
        *,
        monotonic: Monotonic = time.monotonic,
        log: QuietLog | None = None,
    ) -> None:
        self.security = security
        self._cluster = cluster
        self._monotonic = monotonic
        self._quiet = log if log is not None else QuietLog(structlog.get_logger(__name__))
        self._secured = security.tls or security.sasl
        self._lock = threading.Lock()
        self._proof: Proof | None = None
        self._seen = ""
        self._looked_at = 0.0
        self._tokens = TokenEndpoint(security, monotonic) if security.token_url is not None else None
        self.elsewhere: Detached[Any] = Detached("authentication")
        """For what asks others than the broker: Kerberos, AWS."""

    @property
    def version(self) -> int:
        """Grows when files change; looks at them every few seconds at most."""
        with self._lock:
            if self._proof is None:
                return 0
            due = self._secured and self._monotonic() - self._looked_at >= LOOK_S
            return (self._look() if due else self._proof).version

    def proof(self) -> Proof:
        """From the files as they are now; raises AuthenticationFailed when they cannot be used and never could."""
        with self._lock:
            return self._look()

    def token(self, proof: Proof, timeout: float) -> SecretStr:
        """The token for OAUTHBEARER; raises AuthenticationFailed."""
        return self._tokens.token(proof.secret, timeout) if self._tokens is not None else proof.secret

    def refused(self) -> None:
        """The broker took us not: a token that was kept is not tried again."""
        if self._tokens is not None:
            self._tokens.forget()

    def kept(self, address: str, error: KafkaError) -> None:
        """A connection to ``address`` goes on because a new one, with changed files, came to nothing."""
        self._quiet.failed(
            f"renew {address}",
            error.kind,
            "security files have changed, and a new connection with them fails; the old one goes on",
            cluster=self._cluster,
            address=address,
            error=str(error.args[0]),
        )

    def renewed(self, address: str) -> None:
        """A new connection replaced one that was kept."""
        self._quiet.ended(f"renew {address}", "new connections are taken again", cluster=self._cluster, address=address)

    def _look(self) -> Proof:
        self._looked_at = self._monotonic()
        seen = self.security.fingerprint()
        if self._proof is not None and seen == self._seen:
            return self._proof
        self._seen = seen
        version = self._proof.version + 1 if self._proof is not None else 1
        try:
            self._proof = Proof(version, self.security.context(), self.security.secret())
        except AuthenticationFailed as error:
            if self._proof is None:
                raise
            said = str(error.args[0])
            self._quiet.failed(
                "files",
                said.split(" (")[0],
                "a changed file cannot be used; what it held before goes on",
                cluster=self._cluster,
                error=said,
            )
        else:
            self._quiet.ended("files", "the changed files can be used", cluster=self._cluster)
        return self._proof


NONE = Credentials(PLAINTEXT)
