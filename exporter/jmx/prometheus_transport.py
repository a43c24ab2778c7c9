"""Transport ``prometheus``: reads the page of a jmx_exporter agent that runs in the node, where its JMX port is closed or not to be opened."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence

import requests
import urllib3

from exporter.jmx.catalogue import Catalogue
from exporter.jmx.errors import (
    JmxBadAnswer,
    JmxConnectError,
    JmxConnectionLost,
    JmxDenied,
    JmxError,
    JmxRefused,
    JmxTimeout,
)
from exporter.jmx.page import PageReader
from exporter.jmx.parallel import Parallel
from exporter.jmx.transport import BeanValues, JmxAnswer, Target, split_address

log = logging.getLogger(__name__)

ACCEPT = "text/plain; version=0.0.4"
"""Some agents answer with OpenMetrics at its mere mention, whatever its rank, and that takes longer to parse."""
LARGEST = 256 * 1024 * 1024
"""A page larger than this is none of a broker."""
_CHUNK = 256 * 1024


class PrometheusTransport:
    """One GET of ``/metrics`` per node and poll; connections are kept. ``clock`` gives Unix seconds."""

    def __init__(
        self,
        catalogue: Catalogue,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._catalogue = catalogue
        self._reader = PageReader(catalogue)
        self._parallel = Parallel(clock, monotonic)
        self._sessions: dict[str, requests.Session] = {}
        self._told: dict[str, set[str]] = {}
        self._lacking: dict[str, set[str]] = {}
        self._closed = False

    def read(self, targets: Sequence[Target], deadline_s: float) -> Mapping[int, JmxAnswer]:
        """See JmxTransport."""
        return self._parallel.read(targets, deadline_s, self._one)

    def close(self) -> None:
        """See JmxTransport."""
        self._closed = True
        for session in list(self._sessions.values()):
            session.close()

    def _one(self, target: Target, deadline: float) -> JmxAnswer:
        if self._closed:
            raise JmxConnectionLost("the transport is closed")
        started = self._monotonic()
        page, content_type = self._page(target, deadline)
        beans = self._reader.beans(page, content_type, target.plan)
        if not beans:
            raise JmxBadAnswer("the page has no metric of Kafka or Java under the names of Strimzi's rules")
        missing, untold = self._absent(target, beans)
        return JmxAnswer(
            node=target.node,
            address=target.address,
            taken_at=self._clock(),
            seconds=self._monotonic() - started,
            beans=beans,
            missing=missing,
            untold=untold,
        )

    def _absent(self, target: Target, beans: Sequence[BeanValues]) -> tuple[tuple[str, ...], frozenset[str]]:
        """(beans that the node's page had before, beans that it never had): the first are a fact about the node, the others about the agent's rules."""
        told = self._told.setdefault(target.address, set())
        here = {b.request for b in beans}
        told |= here
        absent = [b.bean for b in target.plan.beans if b.bean not in here]
        named = frozenset(b.bean for b in target.plan.beans if not b.is_pattern)
        untold = frozenset(b for b in absent if b not in told)
        self._tell(target, untold)
        return tuple(b for b in absent if b in told and b in named), untold

    def _tell(self, target: Target, untold: frozenset[str]) -> None:
        """Log which families the page lacks, when that changes."""
        specs = (self._catalogue.by_bean[b] for b in sorted(untold))
        names = {column.family.name for spec in specs if not spec.optional for column in spec.columns}
        if names != self._lacking.get(target.address, set()):
            self._lacking[target.address] = names
            log.warning(
                "JMX of node %s (%s): unknown, since the agent's rules leave them out: %s",
                target.node,
                target.address,
                ", ".join(sorted(names)) or "nothing any more",
            )

    # --- the page

    def _page(self, target: Target, deadline: float) -> tuple[str, str]:
        """The page's text and its content type. Raises JmxError."""
        host, port = split_address(target.address)
        scheme = "https" if target.access.tls is not None else "http"
        url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/metrics"
        try:
            with self._get(target, url, deadline) as response:
                _check_status(response)
                return self._body(response, deadline), response.headers.get("Content-Type", "")
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise _understood(error, target.address) from error

    def _get(self, target: Target, url: str, deadline: float) -> requests.Response:
        access, tls = target.access, target.access.tls
        if tls is not None:
            # A file that cannot be read is told in our words; requests reads them again for each new connection.
            tls.read()
        # The system's proxies and .netrc are not for brokers.
        session = self._sessions.setdefault(target.address, requests.Session())
        session.trust_env = False
        left = max(0.05, deadline - self._monotonic())
        return session.get(
            url,
            headers={"Accept": ACCEPT, "Accept-Encoding": "gzip"},
            auth=access.credentials(),
            verify=tls.ca_file if tls is not None and tls.ca_file is not None else True,
            cert=(tls.certificate_file, tls.key_file)
            if tls is not None and tls.certificate_file and tls.key_file
            else None,
            timeout=(left, left),
            stream=True,
            allow_redirects=False,
        )

    def _body(self, response: requests.Response, deadline: float) -> str:
        """All of the body; a server that trickles is left at the deadline."""
        chunks: list[bytes] = []
        size = 0
        for chunk in response.iter_content(_CHUNK):
            chunks.append(chunk)
            size += len(chunk)
            if self._monotonic() > deadline:
                raise JmxTimeout(f"{size} bytes of the page had come when the time was over")
            if size > LARGEST:
                raise JmxBadAnswer(f"the page is larger than {LARGEST >> 20} MB")
        with contextlib.suppress(UnicodeDecodeError):
            return b"".join(chunks).decode("utf-8")
        raise JmxBadAnswer("the page is not UTF-8 text")


def _check_status(response: requests.Response) -> None:
    if response.status_code in (401, 403):
        raise JmxDenied(
            f"the agent answers {response.status_code} {response.reason}: see jmx.username and jmx.password_file"
        )
    if response.status_code != 200:
        raise JmxBadAnswer(f"the agent answers {response.status_code} {response.reason}")


def _understood(error: Exception, address: str) -> JmxError:
    """Our word for an error of the HTTP client."""
    why = " ".join(str(error).split())[:300]
    if isinstance(error, requests.exceptions.SSLError):
        return JmxDenied(f"TLS with {address} fails: {why}")
    if isinstance(error, requests.Timeout):
        return JmxTimeout("the agent did not answer in time")
    if isinstance(error, requests.ConnectionError) and "refused" in why:
        return JmxRefused(f"{address} refuses connections")
    if isinstance(error, requests.ConnectionError) and "timed out" in why.lower():
        return JmxTimeout("the agent did not send its page in time")
    if isinstance(error, requests.ConnectionError) and ("Name or service" in why or "resolve" in why):
        return JmxConnectError(f"the host name in {address} cannot be resolved")
    return JmxConnectionLost(why)
