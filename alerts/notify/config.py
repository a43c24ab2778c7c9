"""The configuration sections ``alertmanagers`` and ``webhooks``."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from exporter.address import http_address
from exporter.files import GivenFile

_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OWN_HEADERS: Final = frozenset({"authorization", "content-length", "content-type", "host", "idempotency-key"})
_SRV: Final = re.compile(r"_[A-Za-z0-9-]+\._tcp(\.[A-Za-z0-9_-]+)+\.?")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _header_name(name: str) -> str:
    if not _HEADER.fullmatch(name):
        raise ValueError(f"{name!r} cannot name a header; use letters, digits and '-'")
    if name.lower() in _OWN_HEADERS or name.lower().startswith("x-klaxon-"):
        raise ValueError(f"{name} is set by Klaxon; a login is given by basic_auth or bearer_token_file")
    return name


def _header_value(value: SecretStr) -> SecretStr:
    if not all(" " <= c <= "~" for c in value.get_secret_value()):
        raise ValueError("must be printable ASCII in one line")
    return value


Headers = dict[
    Annotated[str, AfterValidator(_header_name)], Annotated[SecretStr, AfterValidator(_header_value)]
]  # values are often keys: they are never shown


class BasicAuth(_Strict):
    """User and the file that holds the password; the file is read again for every request."""

    username: str
    password_file: GivenFile


class PeerTls(_Strict):
    """For ``https``: the CA that signed the peer's certificate (the system's if none), our own certificate and key if it asks for one."""

    ca_file: GivenFile | None = None
    cert_file: GivenFile | None = None
    key_file: GivenFile | None = None
    insecure_skip_verify: bool = False

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file belong together; give both or none")
        return self


class HttpPeer(_Strict):
    """How a peer is reached; the same for Alertmanagers and webhooks."""

    timeout: float = Field(10.0, gt=0, le=300)
    """Seconds that one request may take."""
    basic_auth: BasicAuth | None = None
    bearer_token_file: GivenFile | None = None
    headers: Headers = {}
    tls: PeerTls = PeerTls()
    proxy_url: str | None = None
    """An HTTP proxy for this peer."""
    proxy_from_environment: bool = False
    """Whether HTTP_PROXY, HTTPS_PROXY and NO_PROXY count."""

    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    @field_validator("proxy_url")
    @classmethod
    def _proxy(cls, url: str | None) -> str | None:
        if url is not None:
            http_address(url, "http://proxy:3128")
        return url

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.basic_auth is not None and self.bearer_token_file is not None:
            raise ValueError("give basic_auth or bearer_token_file, not both")
        if self.proxy_url is not None and self.proxy_from_environment:
            raise ValueError("give proxy_url or proxy_from_environment, not both")
        return self


class AlertmanagerPeer(HttpPeer):
    """One Alertmanager, or all that a DNS SRV record names. Name every peer of a cluster of them, never a balancer: they remove repeats among themselves."""

    url: str = ""
    """Address with its path prefix, without ``/api/v2``: ``http://alertmanager-1:9093`` or ``https://example.org/alertmanager``."""
    srv: str = ""
    """Instead of ``url``: a name like ``_alertmanager._tcp.example.org``; each host and port that it names is a peer."""
    scheme: Literal["http", "https"] = "http"
    """With ``srv``: how the peers are spoken to."""
    path_prefix: str = ""
    """With ``srv``: what stands before ``/api/v2``."""
    refresh: float = Field(30.0, ge=1, le=3600)
    """With ``srv``: seconds between two look-ups."""

    @field_validator("url")
    @classmethod
    def _plain(cls, url: str) -> str:
        like = "http://alertmanager:9093 or https://example.org/alertmanager"
        parts = http_address(url, like, "; for a password use basic_auth.password_file")
        if parts.path.rstrip("/").endswith("/api/v2") or parts.path.rstrip("/").endswith("/api/v2/alerts"):
            raise ValueError("must end before /api/v2, which Klaxon adds")
        return url.rstrip("/")

    @field_validator("srv")
    @classmethod
    def _service(cls, name: str) -> str:
        if not _SRV.fullmatch(name):
            raise ValueError("must be the name of an SRV record like _alertmanager._tcp.example.org")
        return name

    @field_validator("path_prefix")
    @classmethod
    def _prefix(cls, path: str) -> str:
        if not path.startswith("/") or not path.isascii() or any(c in path for c in "?#@ "):
            raise ValueError("must be a path like /alertmanager")
        return path.rstrip("/")

    @model_validator(mode="after")
    def _url_or_srv(self) -> Self:
        if bool(self.url) == bool(self.srv):
            raise ValueError("give url or srv, one of them")
        extra = self.model_fields_set & {"scheme", "path_prefix", "refresh"}
        if self.url and extra:
            raise ValueError(f"{', '.join(sorted(extra))} belongs to srv; a url says it itself")
        return self

    __hash__ = HttpPeer.__hash__

    @property
    def name(self) -> str:
        """host:port and path, as shown in metrics and logs; the record's name with ``srv``."""
        parts = urlsplit(self.url)
        return f"{parts.netloc}{parts.path}" if self.url else self.srv

    def at(self, host: str, port: int) -> AlertmanagerPeer:
        """The peer that an SRV record names."""
        where = f"[{host}]" if ":" in host else host
        return self.model_copy(update={"url": f"{self.scheme}://{where}:{port}{self.path_prefix}", "srv": ""})


class Webhook(HttpPeer):
    """Takes every incident's story as JSON: opened, updated, raised, resolved."""

    url: str
    """Where to POST. Its path may be a secret: metrics and logs show ``name``."""
    name: str = ""
    """How metrics and logs call it [host:port of the url]."""
    secret_file: GivenFile | None = None
    """Its content signs each body (HMAC-SHA256) in the header X-Klaxon-Signature."""

    @field_validator("url")
    @classmethod
    def _plain(cls, url: str) -> str:
        instead = "; a key goes into headers, a password into basic_auth.password_file"
        http_address(url, "https://example.org/hooks/klaxon", instead)
        return url

    __hash__ = HttpPeer.__hash__

    @property
    def shown_name(self) -> str:
        """As shown in metrics and logs."""
        return self.name or urlsplit(self.url).netloc
