"""One HTTP request to a peer: TLS, login, headers and proxy as configured, and what its answer means for what was sent."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping
from typing import Final

import requests
import structlog
from requests.auth import AuthBase, HTTPBasicAuth

from alerts.notify.config import HttpPeer, PeerTls
from alerts.notify.sender import DeliveryError
from exporter.files import fingerprint, read_secret, read_token

log = structlog.get_logger(__name__)

NOT_REFUSALS: Final = frozenset({401, 403, 404, 405, 407, 408, 421, 425, 429})
"""4xx that speak of the way and not of what is sent (login, address, a proxy's limit): it is kept and tried again."""


def is_refusal(status: int) -> bool:
    """Whether the same content would be refused again."""
    return status // 100 == 4 and status not in NOT_REFUSALS


class SecretError(ValueError):
    """A file with a password, token or key that cannot be used."""


class Http:
    """A kept connection to one peer; used by one thread. ``timed`` is told the seconds that each request took."""

    def __init__(self, name: str, config: HttpPeer, timed: Callable[[float], None] = lambda seconds: None) -> None:
        self._name = name
        self._config = config
        self._timed = timed
        self._files = ""
        self._session = requests.Session()
        self._session.trust_env = config.proxy_from_environment
        self._session.headers["User-Agent"] = "klaxon"
        self._session.headers.update({k: v.get_secret_value() for k, v in config.headers.items()})
        if config.tls.cert_file is not None and config.tls.key_file is not None:
            self._session.cert = (config.tls.cert_file, config.tls.key_file)

    def close(self) -> None:
        self._session.close()

    def request(
        self,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] = {},
        params: Mapping[str, str | list[str]] = {},
    ) -> requests.Response:
        """The answer, a good one. Raises DeliveryError."""
        self._take_up_files()
        proxy = self._config.proxy_url
        started = time.monotonic()
        try:
            answer = self._session.request(
                method,
                url,
                data=body,
                params=dict(params),
                headers={**headers, **({"Content-Type": "application/json"} if body is not None else {})},
                auth=_auth(self._config),
                verify=_verify(self._config),
                proxies={"http": proxy, "https": proxy} if proxy is not None else None,
                timeout=self._config.timeout,
                allow_redirects=False,
            )
        except (requests.RequestException, OSError, ValueError) as error:
            raise DeliveryError(self._name, _kind(error), _told(error)) from error
        finally:
            self._timed(time.monotonic() - started)
        if answer.status_code // 100 == 2:
            return answer
        reason = f"HTTP {answer.status_code}: {answer.text[:300].strip()}"
        refused = is_refusal(answer.status_code)
        after = answer.headers.get("Retry-After", "")
        raise DeliveryError(
            self._name,
            f"http_{answer.status_code}",
            reason,
            refused=refused,
            after=float(after) if after.isdecimal() else 0.0,
        )

    def _take_up_files(self) -> None:
        """A kept connection goes when CA, certificate or key have changed: the next one reads them."""
        tls = self._config.tls
        seen = fingerprint((tls.ca_file, tls.cert_file, tls.key_file))
        if seen == self._files:
            return
        self._files = seen
        try:
            _try(tls)
        except (OSError, ValueError) as error:
            log.warning(
                "a TLS file of a peer has changed and cannot be used; a kept connection goes on",
                peer=self._name,
                error=str(error),
            )
        else:
            self._session.close()


def _kind(error: Exception) -> str:
    """The reason in a word, for metrics."""
    if isinstance(error, SecretError):
        return "secret"
    if isinstance(error, requests.exceptions.SSLError):
        return "tls"
    if isinstance(error, requests.Timeout):
        return "timeout"
    return "connection"


def _told(error: Exception) -> str:
    """Why, without the address: an address may hold a key in its query."""
    text = str(error)
    return text if "with url:" not in text else f"{text[: text.index('with url:')].strip()}: {_innermost(error)}"


def _innermost(error: BaseException) -> str:
    """The reason of urllib3's nested errors."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return _innermost(reason) if isinstance(reason, BaseException) else str(error).rpartition(": ")[2]


def _try(tls: PeerTls) -> None:
    """Load the files once; raises OSError, ValueError when they cannot be used."""
    context = ssl.create_default_context(cafile=tls.ca_file)
    if tls.cert_file is not None:
        # A function, since a key with a password would be asked for on the terminal.
        context.load_cert_chain(tls.cert_file, tls.key_file, lambda: "")


def _verify(config: HttpPeer) -> bool | str:
    """Given with each request, since requests lets an environment variable overrule what a session says."""
    if config.tls.insecure_skip_verify:
        return False
    return config.tls.ca_file if config.tls.ca_file is not None else True


class _Authorization(AuthBase):
    """Sets the Authorization header, or none; giving it keeps requests from looking into a .netrc file."""

    def __init__(self, authorization: str | None) -> None:
        self._authorization = authorization

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._authorization is not None:
            request.headers["Authorization"] = self._authorization
        return request


def _auth(config: HttpPeer) -> AuthBase:
    """Secrets are read anew for each request, so that a changed file counts at once."""
    if config.bearer_token_file is not None:
        return _Authorization(f"Bearer {from_file(read_token, config.bearer_token_file)}")
    if config.basic_auth is not None:
        password = from_file(read_secret, config.basic_auth.password_file)
        return HTTPBasicAuth(config.basic_auth.username.encode(), password.encode())
    return _Authorization(None)


def from_file(read: Callable[[str], str], path: str) -> str:
    """A secret; raises SecretError with the file's name."""
    try:
        return read(path)
    except (OSError, ValueError) as error:
        raise SecretError(f"{path} cannot be used: {error}") from None
