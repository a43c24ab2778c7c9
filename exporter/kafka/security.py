"""The configuration section `security` of a cluster: how a connection proves itself and hides what it carries."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from typing import Annotated, Final, Literal, Self, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, model_validator

from exporter.address import http_address
from exporter.files import FOLDER, GivenFile, fingerprint, read_secret, read_token
from exporter.kafka.errors import AuthenticationFailed

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "GSSAPI", "AWS_MSK_IAM"]

_PASSWORD: Final = ("username", "password", "password_file")
_CLIENT: Final = ("token_url", "client_id", "client_secret_file")
BELONGS_TO: Final[Mapping[Mechanism, tuple[str, ...]]] = {
    "PLAIN": _PASSWORD,
    "SCRAM-SHA-256": _PASSWORD,
    "SCRAM-SHA-512": _PASSWORD,
    "OAUTHBEARER": ("token_file", *_CLIENT, "token_ca_file", "scope", "extensions"),
    "GSSAPI": ("kerberos_service_name", "kerberos_host"),
    "AWS_MSK_IAM": ("aws_region", "aws_profile"),
}
"""The keys that a mechanism knows."""

PACKAGES: Final[Mapping[str, str]] = {"GSSAPI": "gssapi", "AWS_MSK_IAM": "botocore"}
"""Mechanism -> the Python package that it needs and that Klaxon brings only when asked: ``klaxon[<package>]``."""

_EXTENSION_NAME = re.compile(r"[A-Za-z]+", re.ASCII)
_EXTENSION_VALUE = re.compile(r"[\x21-\x7e \t]+", re.ASCII)

_TLS_SAYS: Final[Mapping[str, str]] = {
    "key values mismatch": "the key does not belong to the certificate",
    "no certificate or crl found": "there is no certificate (PEM text) in it",
    "not enough data": "there is no certificate (PEM text) in it",
    "bad decrypt": "key_password_file holds another password than the key's",
    "bad password read": "the key has a password; give it with key_password_file",
    "pem lib": "certificate and key must be PEM text, and key_password_file hold the key's password if it has one",
}
"""OpenSSL's reasons in words of the configuration."""

T = TypeVar("T")


def _token_address(url: str) -> str:
    http_address(url, "https://login.example.org/oauth2/token", "; the client's secret stands in client_secret_file")
    return url


def _extensions(extensions: dict[str, str]) -> dict[str, str]:
    """The grammar of RFC 7628, 3.1, as Kafka's SaslExtensions checks it."""
    for name, value in extensions.items():
        if not _EXTENSION_NAME.fullmatch(name) or name == "auth":
            raise ValueError(f"{name!r} cannot name an extension; use letters, and another word than auth")
        if not _EXTENSION_VALUE.fullmatch(value):
            raise ValueError(f"the value of {name} must be printable ASCII")
    return extensions


class SecurityConfig(BaseModel):
    """One typed block for every connection to a cluster. Secrets come from files or ${ENV}; file names are kept, contents are read when a connection is made."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    protocol: Protocol = "PLAINTEXT"
    mechanism: Mechanism | None = None
    username: str | None = None
    password: SecretStr | None = None
    password_file: GivenFile | None = None
    token_file: GivenFile | None = None
    """OAUTHBEARER: a token that something else keeps fresh."""
    token_url: Annotated[str, AfterValidator(_token_address)] | None = None
    """OAUTHBEARER: the endpoint that gives tokens for the client's credentials (RFC 6749, 4.4)."""
    token_ca_file: GivenFile | None = None
    client_id: str | None = None
    client_secret_file: GivenFile | None = None
    scope: str | None = None
    extensions: Annotated[dict[str, str], AfterValidator(_extensions)] = {}
    """SASL extensions (KIP-342)."""
    kerberos_service_name: str | None = None
    """GSSAPI: the first part of the brokers' principals; ``kafka`` when it is not set."""
    kerberos_host: str | None = None
    """GSSAPI: the host in the brokers' principals where it is not the one that Klaxon connects to."""
    aws_region: str | None = None
    aws_profile: str | None = None
    ca_file: GivenFile | None = None
    """Certificates that sign the brokers'; the system's when it is not set."""
    certificate_file: GivenFile | None = None
    key_file: GivenFile | None = None
    key_password_file: GivenFile | None = None
    verify_hostname: bool = Field(default=True)

    @model_validator(mode="after")
    def _fits_together(self, info: ValidationInfo) -> Self:
        self._protocol_and_mechanism()
        self._what_the_mechanism_needs()
        self._tls_files()
        if isinstance(info.context, dict) and FOLDER in info.context:
            self._usable()
        return self

    def _protocol_and_mechanism(self) -> None:
        known = ", ".join(get_args(Mechanism))
        if self.sasl and self.mechanism is None:
            raise ValueError(f"protocol {self.protocol} needs a mechanism, one of {known}")
        if not self.sasl and self.mechanism is not None:
            raise ValueError(f"mechanism belongs to protocol SASL_SSL or SASL_PLAINTEXT; protocol is {self.protocol}")
        own = BELONGS_TO[self.mechanism] if self.mechanism is not None else ()
        for mechanism, keys in BELONGS_TO.items():
            strange = [key for key in keys if key not in own and getattr(self, key)]
            if strange:
                raise ValueError(
                    f"{strange[0]} belongs to mechanism {mechanism}; mechanism is {self.mechanism or 'not set'}"
                )

    def _what_the_mechanism_needs(self) -> None:
        mechanism = self.mechanism
        if mechanism in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"):
            if not self.username or (self.password is None) == (self.password_file is None):
                raise ValueError(f"mechanism {mechanism} needs username, and password_file or password (one of them)")
            if self.password is not None and not self.password.get_secret_value():
                raise ValueError("password is empty; give the user's")
        elif mechanism == "OAUTHBEARER":
            client = [key for key in _CLIENT if getattr(self, key)]
            if bool(self.token_file) == bool(client) or len(client) not in (0, len(_CLIENT)):
                raise ValueError(
                    f"mechanism OAUTHBEARER needs token_file, or {', '.join(_CLIENT[:-1])} and {_CLIENT[-1]}"
                )
            strange = [key for key in ("scope", "token_ca_file") if getattr(self, key)]
            if self.token_file and strange:
                raise ValueError(f"{strange[0]} belongs to token_url; a token_file is taken as it is")
        elif mechanism == "AWS_MSK_IAM" and not self.tls:
            raise ValueError("mechanism AWS_MSK_IAM needs protocol SASL_SSL")
        package = PACKAGES.get(mechanism or "")
        if package is not None and find_spec(package) is None:
            raise ValueError(
                f"mechanism {mechanism} needs the Python package {package}, which is not installed; "
                f"install klaxon[{package}] (docs/security.md)"
            )

    def _tls_files(self) -> None:
        tls = (self.ca_file, self.certificate_file, self.key_file, self.key_password_file)
        if not self.tls and any(tls):
            raise ValueError(
                f"ca_file, certificate_file and key_file belong to protocol SSL or SASL_SSL; protocol is {self.protocol}"
            )
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file belong together; set both or none")
        if self.key_password_file is not None and self.key_file is None:
            raise ValueError("key_password_file belongs to key_file; set both or none")

    def _usable(self) -> None:
        try:
            self.context()
            self.secret()
        except AuthenticationFailed as error:
            raise ValueError(str(error.args[0]).removeprefix("security.")) from error

    @property
    def tls(self) -> bool:
        return self.protocol in ("SSL", "SASL_SSL")

    @property
    def sasl(self) -> bool:
        return self.protocol in ("SASL_PLAINTEXT", "SASL_SSL")

    def fingerprint(self) -> str:
        """Changes with the content of any file that is named here."""
        return fingerprint(
            (
                self.ca_file,
                self.certificate_file,
                self.key_file,
                self.key_password_file,
                self.password_file,
                self.token_file,
                self.client_secret_file,
            )
        )

    def context(self) -> ssl.SSLContext | None:
        """A fresh TLS context; None for plain connections. Raises AuthenticationFailed."""
        if not self.tls:
            return None
        context = _using("ca_file", self.ca_file, lambda: ssl.create_default_context(cafile=self.ca_file))
        context.check_hostname = self.verify_hostname
        certificate, key = self.certificate_file, self.key_file
        if certificate is not None and key is not None:
            given = self.key_password_file
            password = _using("key_password_file", given, partial(read_secret, given)) if given is not None else ""
            names = f"{certificate}, {key}"
            # A function, since None would make OpenSSL ask on the terminal.
            _using(
                "certificate_file, key_file", names, lambda: context.load_cert_chain(certificate, key, lambda: password)
            )
        return context

    def secret(self) -> SecretStr:
        """The password, the client's secret or the token as it stands now; empty where the mechanism has none. Raises AuthenticationFailed."""
        if self.password is not None:
            return self.password
        if self.token_file is not None:
            return SecretStr(_using("token_file", self.token_file, partial(read_token, self.token_file)))
        for key, path in (("password_file", self.password_file), ("client_secret_file", self.client_secret_file)):
            if path is not None:
                return SecretStr(_using(key, path, partial(read_secret, path)))
        return SecretStr("")


def _using(key: str, path: str | None, load: Callable[[], T]) -> T:
    """What ``load`` gives; a file that cannot be used is named."""
    try:
        return load()
    except (OSError, ValueError) as error:
        said = str(getattr(error, "reason", None) or getattr(error, "strerror", None) or error)
        plain = said.lower().replace("_", " ")
        why = next((words for reason, words in _TLS_SAYS.items() if reason in plain), said)
        raise AuthenticationFailed(f"security.{key} ({path}) cannot be used: {why}") from error


PLAINTEXT = SecurityConfig()
