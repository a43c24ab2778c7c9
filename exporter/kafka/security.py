"""The configuration section `security` of a cluster: how a connection proves itself and hides what it carries."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "GSSAPI", "AWS_MSK_IAM"]

NOT_YET = "SASL is not supported by this version of Klaxon; use PLAINTEXT or SSL (client certificates included)"


class SecurityConfig(BaseModel):
    """One typed block for every connection to a cluster. Secrets come from files; file names are kept, contents are read at each connect."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    protocol: Protocol = "PLAINTEXT"
    mechanism: Mechanism | None = None
    username: str | None = None
    password_file: str | None = None
    ca_file: str | None = None
    """Certificates that sign the brokers'; the system's when it is not set."""
    certificate_file: str | None = None
    key_file: str | None = None
    key_password_file: str | None = None
    verify_hostname: bool = Field(default=True)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.protocol.startswith("SASL"):
            raise ValueError(f"protocol {self.protocol}: {NOT_YET}")
        if self.mechanism or self.username or self.password_file:
            raise ValueError(
                f"mechanism, username and password_file belong to a SASL protocol; protocol is {self.protocol}"
            )
        tls = (self.ca_file, self.certificate_file, self.key_file, self.key_password_file)
        if not self.tls and any(tls):
            raise ValueError(
                f"ca_file, certificate_file and key_file belong to protocol SSL; protocol is {self.protocol}"
            )
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file belong together; set both or none")
        return self

    @property
    def tls(self) -> bool:
        return self.protocol in ("SSL", "SASL_SSL")

    def context(self) -> ssl.SSLContext | None:
        """A fresh TLS context, so that changed certificates are taken up; None for plain connections. Raises OSError, ssl.SSLError."""
        if not self.tls:
            return None
        context = ssl.create_default_context(cafile=self.ca_file)
        context.check_hostname = self.verify_hostname
        if self.certificate_file is not None:
            password = (
                Path(self.key_password_file).read_text(encoding="utf-8").strip() if self.key_password_file else None
            )
            context.load_cert_chain(self.certificate_file, self.key_file, password)
        return context


PLAINTEXT = SecurityConfig()
