"""The configuration section ``alertmanagers``."""

from __future__ import annotations

from typing import Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from exporter.files import GivenFile


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BasicAuth(_Strict):
    """User and the file that holds the password; the file is read again for every request."""

    username: str
    password_file: GivenFile


class PeerTls(_Strict):
    """For ``https``: the CA that signed the Alertmanager's certificate (the system's if none), our own certificate and key if it asks for one."""

    ca_file: GivenFile | None = None
    cert_file: GivenFile | None = None
    key_file: GivenFile | None = None
    insecure_skip_verify: bool = False

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file belong together; give both or none")
        return self


class AlertmanagerPeer(_Strict):
    """One Alertmanager. Name every peer of a cluster of them, never a balancer: they remove repeats among themselves."""

    url: str
    """Address with its path prefix, without ``/api/v2``: ``http://alertmanager-1:9093`` or ``https://example.org/alertmanager``."""
    timeout: float = Field(10.0, gt=0, le=300)
    """Seconds that one request may take."""
    basic_auth: BasicAuth | None = None
    bearer_token_file: GivenFile | None = None
    tls: PeerTls = PeerTls()

    @field_validator("url")
    @classmethod
    def _plain(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be an address like http://alertmanager:9093 or https://example.org/alertmanager")
        if parts.query or parts.fragment or "@" in parts.netloc:
            raise ValueError("must be without user, query and fragment; for a password use basic_auth.password_file")
        if parts.path.rstrip("/").endswith("/api/v2") or parts.path.rstrip("/").endswith("/api/v2/alerts"):
            raise ValueError("must end before /api/v2, which Klaxon adds")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.basic_auth is not None and self.bearer_token_file is not None:
            raise ValueError("give basic_auth or bearer_token_file, not both")
        return self

    @property
    def name(self) -> str:
        """host:port and path, as shown in metrics and logs."""
        parts = urlsplit(self.url)
        return f"{parts.netloc}{parts.path}"
