"""The configuration section `security` of a cluster: how a connection proves itself and hides what it carries."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from exporter.kafka.errors import AuthenticationFailed

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]

_NEXT_STEP = "give Klaxon a user of its own for one of these, or a listener with client certificates (protocol SSL)"

T = TypeVar("T")


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

    @model_validator(mode="before")
    @classmethod
    def _known_mechanism(cls, data: object) -> object:
        asked = data.get("mechanism") if isinstance(data, dict) else None
        if isinstance(asked, str) and asked not in get_args(Mechanism):
            raise ValueError(f"mechanism {asked} is not one of {', '.join(get_args(Mechanism))}; {_NEXT_STEP}")
        return data

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        sasl = {"mechanism": self.mechanism, "username": self.username, "password_file": self.password_file}
        missing = [key for key, value in sasl.items() if not value]
        if self.sasl and missing:
            raise ValueError(f"protocol {self.protocol} needs {', '.join(missing)} too")
        if not self.sasl and len(missing) < len(sasl):
            raise ValueError(
                f"mechanism, username and password_file belong to a SASL protocol; protocol is {self.protocol}"
            )
        tls = (self.ca_file, self.certificate_file, self.key_file, self.key_password_file)
        if not self.tls and any(tls):
            raise ValueError(
                f"ca_file, certificate_file and key_file belong to protocol SSL or SASL_SSL; protocol is {self.protocol}"
            )
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file belong together; set both or none")
        if self.key_password_file is not None and self.key_file is None:
            raise ValueError("key_password_file belongs to key_file; set both or none")
        return self

    @property
    def tls(self) -> bool:
        return self.protocol in ("SSL", "SASL_SSL")

    @property
    def sasl(self) -> bool:
        return self.protocol in ("SASL_PLAINTEXT", "SASL_SSL")

    def context(self) -> ssl.SSLContext | None:
        """A fresh TLS context, so that changed certificates are taken up; None for plain connections. Raises AuthenticationFailed."""
        if not self.tls:
            return None
        context = _using("ca_file", self.ca_file, lambda: ssl.create_default_context(cafile=self.ca_file))
        context.check_hostname = self.verify_hostname
        certificate, key = self.certificate_file, self.key_file
        if certificate is not None and key is not None:
            password = _secret("key_password_file", self.key_password_file) if self.key_password_file else ""
            names = f"{certificate}, {key}"
            # A function, since None would make OpenSSL ask on the terminal.
            _using(
                "certificate_file, key_file", names, lambda: context.load_cert_chain(certificate, key, lambda: password)
            )
        return context

    def password(self) -> str:
        """The SASL password as it is in its file now. Raises AuthenticationFailed."""
        assert self.password_file is not None, "checked when the configuration was read"
        return _secret("password_file", self.password_file)


def _secret(key: str, path: str) -> str:
    """A file's text without the end of its line."""
    return _using(key, path, lambda: Path(path).read_text(encoding="utf-8")).rstrip("\r\n")


def _using(key: str, path: str | None, load: Callable[[], T]) -> T:
    """What ``load`` gives; a file that cannot be used is named."""
    try:
        return load()
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise AuthenticationFailed(f"security.{key} ({path}) cannot be used: {why}") from error


PLAINTEXT = SecurityConfig()
