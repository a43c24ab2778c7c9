"""How a node's JMX is entered: user, password and TLS, from files that are read when they are needed, so that changed ones are taken up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from exporter.files import read_secret
from exporter.jmx.errors import JmxDenied


@dataclass(frozen=True, slots=True)
class Pem:
    """What the files of TlsFiles hold; None for what is not set."""

    ca: str | None
    certificate: str | None
    key: str | None


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """TLS to the node: ``ca_file`` signs its certificate (the system's authorities without it), the other two are ours. ``registry``: the RMI registry speaks TLS too."""

    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    registry: bool = True

    def read(self) -> Pem:
        """The files as they are now. Raises JmxDenied, which names the key and the file that cannot be used."""
        return Pem(
            _text("tls.ca_file", self.ca_file),
            _text("tls.certificate_file", self.certificate_file),
            _text("tls.key_file", self.key_file),
        )


@dataclass(frozen=True, slots=True)
class Access:
    """Everything that a cluster's nodes want to see before they answer."""

    username: str | None = None
    password_file: str | None = None
    tls: TlsFiles | None = None

    def credentials(self) -> tuple[str, str] | None:
        """User and password as it is in its file now, None where nobody asks. Raises JmxDenied."""
        if self.username is None:
            return None
        assert self.password_file is not None, "checked when the configuration was read"
        return self.username, _read("password_file", self.password_file, read_secret)


def _text(key: str, path: str | None) -> str | None:
    return _read(key, path, lambda p: Path(p).read_text(encoding="utf-8")) if path is not None else None


def _read(key: str, path: str, read: Callable[[str], str]) -> str:
    try:
        return read(path)
    except UnicodeDecodeError:
        # The error carries the content: leave it behind.
        raise JmxDenied(f"jmx.{key} ({path}) cannot be used: it is not UTF-8 text") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise JmxDenied(f"jmx.{key} ({path}) cannot be used: {why}") from error


OPEN = Access()
"""No password, no TLS."""
