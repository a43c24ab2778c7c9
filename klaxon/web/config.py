"""The configuration section `web`."""

from __future__ import annotations

import re

from pydantic import BaseModel, ConfigDict, field_validator

_LISTEN = re.compile(r"^(?P<host>\[[0-9a-fA-F:.]+\]|[^:\[\]\s]*):(?P<port>\d{1,5})$")


class WebConfig(BaseModel):
    """Where the web server listens, and under which address people reach it."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    listen: str = "127.0.0.1:9308"
    external_url: str = ""

    @field_validator("listen")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        match = _LISTEN.match(value)
        if match is None or not 0 <= int(match["port"]) <= 65535:
            raise ValueError(
                f"{value!r} is not host:port; write for example 127.0.0.1:9308, or 0.0.0.0:9308 for every interface"
            )
        return value

    @field_validator("external_url")
    @classmethod
    def _http(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError(f"{value!r} is not a URL; write for example https://klaxon.example.org")
        return value.rstrip("/")

    @property
    def host(self) -> str:
        """The interface to bind; empty means every one."""
        return self.listen.rpartition(":")[0].strip("[]") or "0.0.0.0"

    @property
    def port(self) -> int:
        return int(self.listen.rpartition(":")[2])

    @property
    def url(self) -> str:
        """The address for links in pages: external_url, or the listening one."""
        return self.external_url or f"http://{self.listen}"
