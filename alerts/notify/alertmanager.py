"""Delivery to Alertmanager's API v2: a queue and a thread for each peer, so that one that is away holds up no other.

The queue keeps the latest word on each alert, by its labels. A firing one that a newer word replaces is not missed; an end (resolved) stays until the peer has taken
it, however long the peer was away. What a peer refuses (4xx) is never sent again: the batch is split until the bad one is alone, that is dropped, counted and
logged once. What failed otherwise (5xx, no connection, time-out) is tried again with growing pauses.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import requests
import structlog
from prometheus_client import CollectorRegistry
from requests.auth import AuthBase, HTTPBasicAuth

from alerts.diagnosis.postings import OUTLIVES, Posting
from alerts.notify.config import AlertmanagerPeer, PeerTls
from alerts.notify.metrics import DeliveryMetrics
from exporter.files import fingerprint, read_secret, read_token

log = structlog.get_logger(__name__)

BATCH: Final = 64
"""Alerts in one request."""

CAPACITY: Final = 10_000
"""Alerts that a queue holds; beyond that the oldest firing ones go first, which are re-sent each minute anyway."""

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0

Key = tuple[tuple[str, str], ...]


class DeliveryError(Exception):
    """A request that did not succeed; ``refused`` if the peer will never take it (4xx)."""

    def __init__(self, peer: str, reason: str, *, refused: bool) -> None:
        super().__init__(f"Alertmanager {peer}: {reason}")
        self.peer = peer
        self.reason = reason
        self.refused = refused


class Alertmanagers:
    """All peers together; an ``Outbox``."""

    def __init__(
        self, peers: Iterable[AlertmanagerPeer], registry: CollectorRegistry, clock: Callable[[], float]
    ) -> None:
        self._metrics = DeliveryMetrics(registry)
        self._clock = clock
        self._peers = tuple(Peer(p, self._metrics, clock) for p in peers)

    def start(self) -> None:
        for peer in self._peers:
            peer.start()

    def use(self, peers: Iterable[AlertmanagerPeer]) -> None:
        """Send to these from now on; those that were there before keep their queue. A new one gets firing alerts with their next re-sending."""
        before = {peer.config: peer for peer in self._peers}
        wanted = list(dict.fromkeys(peers))
        gone = [peer for config, peer in before.items() if config not in wanted]
        added = [config for config in wanted if config not in before]
        for peer in gone:
            peer.ask_to_stop()
        for name in {peer.name for peer in gone}:
            self._metrics.forget(name)
        fresh = {config: Peer(config, self._metrics, self._clock) for config in added}
        for peer in fresh.values():
            peer.start()
        self._peers = tuple({**before, **fresh}[config] for config in wanted)

    def post(self, batch: Sequence[Posting]) -> None:
        """Hand the batch to every peer's queue; returns at once."""
        for peer in self._peers:
            peer.post(batch)

    def pending(self) -> Mapping[str, int]:
        """Peer -> alerts that it has not taken yet."""
        return {p.name: p.pending for p in self._peers}

    def stop(self, grace: float = 5.0) -> None:
        """Let every peer send what it has for up to ``grace`` seconds together, then end."""
        for peer in self._peers:
            peer.ask_to_stop()
        deadline = threading.Event()
        timer = threading.Timer(grace, deadline.set)
        timer.daemon = True
        timer.start()
        try:
            for peer in self._peers:
                peer.wait(deadline)
        finally:
            timer.cancel()


@dataclass(slots=True)
class Queue:
    """The latest word on each alert, oldest first; not thread-safe by itself."""

    capacity: int = CAPACITY
    _waiting: dict[Key, Posting] = field(default_factory=dict)

    def put(self, posting: Posting) -> int:
        """Adds or replaces; returns how many had to go for want of room."""
        self._waiting.pop(posting.key, None)
        self._waiting[posting.key] = posting
        return self._shrink()

    def _shrink(self) -> int:
        gone = 0
        while len(self._waiting) > self.capacity:
            firing = next((k for k, p in self._waiting.items() if p.resolved_at is None), None)
            self._waiting.pop(next(iter(self._waiting)) if firing is None else firing)
            gone += 1
        return gone

    def head(self, n: int) -> list[Posting]:
        """The next ones to send; they stay until ``done``."""
        return [p for _, p in zip(range(n), self._waiting.values(), strict=False)]

    def done(self, sent: Iterable[Posting]) -> None:
        """Forget what was taken, unless a newer word came meanwhile."""
        for posting in sent:
            if self._waiting.get(posting.key) is posting:
                del self._waiting[posting.key]

    def __len__(self) -> int:
        return len(self._waiting)


class Peer:
    """One Alertmanager with its queue and its thread."""

    def __init__(self, config: AlertmanagerPeer, metrics: DeliveryMetrics, clock: Callable[[], float]) -> None:
        self.name = config.name
        self.config = config
        self._clock = clock
        self._queue = Queue()
        self._changed = threading.Condition()
        self._stopping = False
        self._session = _session(config)
        self._files = ""
        self._refused: set[Key] = set()
        self._was_up = True
        self._thread = threading.Thread(target=self._run, name=f"alertmanager {self.name}", daemon=True)
        self._up = metrics.up.labels(self.name)
        self._last_success = metrics.last_success.labels(self.name)
        self._sent = metrics.sent.labels(self.name)
        self._failed = metrics.failed.labels(self.name)
        self._dropped = metrics.dropped.labels(self.name)

    def start(self) -> None:
        self._thread.start()

    @property
    def pending(self) -> int:
        with self._changed:
            return len(self._queue)

    def post(self, batch: Sequence[Posting]) -> None:
        with self._changed:
            for posting in batch:
                if gone := self._queue.put(posting):
                    self._dropped.inc(gone)
            self._changed.notify_all()

    def ask_to_stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def wait(self, deadline: threading.Event) -> None:
        """Until the thread has ended or the deadline is set."""
        while self._thread.is_alive() and not deadline.is_set():
            self._thread.join(0.05)

    # --- the thread

    def _run(self) -> None:
        pause = 0.0
        while True:
            with self._changed:
                if pause:
                    self._changed.wait_for(lambda: self._stopping, timeout=pause)
                self._changed.wait_for(lambda: self._stopping or len(self._queue))
                batch = self._queue.head(BATCH)
                last_try = self._stopping
            if not batch:
                return
            ok = self._attempt(batch)
            if last_try and not ok:
                return
            pause = 0.0 if ok else min(LONGEST_PAUSE, max(FIRST_PAUSE, pause * 2))

    def _attempt(self, batch: Sequence[Posting]) -> bool:
        """Send one batch; False if it has to be tried again."""
        try:
            self._deliver(batch)
        except DeliveryError as error:
            self._turned(up=False, reason=error.reason)
            return False
        except Exception:
            if self._was_up:
                log.exception("sending to alertmanager failed", peer=self.name)
            self._failed.inc()
            self._turned(up=False, reason="internal error")
            return False
        self._turned(up=True)
        return True

    def _turned(self, *, up: bool, reason: str = "") -> None:
        """Keep the metrics, and log only when it changed."""
        self._up.set(up)
        if up:
            self._last_success.set(self._clock())
        if self._was_up and not up:
            log.warning("alertmanager does not take alerts", peer=self.name, reason=reason)
        elif up and not self._was_up:
            log.info("alertmanager takes alerts again", peer=self.name)
        self._was_up = up

    def _deliver(self, batch: Sequence[Posting]) -> None:
        """Send, splitting what is refused; raises DeliveryError when the peer is away."""
        try:
            self._request(batch)
        except DeliveryError as error:
            self._failed.inc()
            if not error.refused:
                raise
            if len(batch) == 1:
                self._drop(batch[0], error)
                return
            middle = len(batch) // 2
            self._deliver(batch[:middle])
            self._deliver(batch[middle:])
            return
        self._sent.inc(len(batch))
        self._taken(batch)

    def _taken(self, batch: Sequence[Posting]) -> None:
        with self._changed:
            self._queue.done(batch)

    def _drop(self, posting: Posting, error: DeliveryError) -> None:
        self._dropped.inc()
        if posting.key not in self._refused:
            if len(self._refused) >= CAPACITY:
                self._refused.clear()
            self._refused.add(posting.key)
            log.error("alertmanager refuses an alert", peer=self.name, labels=dict(posting.labels), reason=error.reason)
        self._taken([posting])

    def _take_up_files(self) -> None:
        """A kept connection goes when CA, certificate or key have changed: the next one reads them."""
        seen = fingerprint((self.config.tls.ca_file, self.config.tls.cert_file, self.config.tls.key_file))
        if seen == self._files:
            return
        self._files = seen
        try:
            _try(self.config.tls)
        except (OSError, ValueError) as error:
            log.warning(
                "a TLS file of an alertmanager has changed and cannot be used; a kept connection goes on",
                peer=self.name,
                error=str(error),
            )
        else:
            self._session.close()

    def _request(self, batch: Sequence[Posting]) -> None:
        now = self._clock()
        self._take_up_files()
        try:
            answer = self._session.post(
                f"{self.config.url}/api/v2/alerts",
                json=[as_json(p, now) for p in batch],
                auth=_auth(self.config),
                verify=_verify(self.config),
                timeout=self.config.timeout,
                allow_redirects=False,
            )
        except (requests.RequestException, OSError, ValueError) as error:
            raise DeliveryError(self.name, str(error), refused=False) from error
        if answer.status_code // 100 == 2:
            return
        reason = f"HTTP {answer.status_code}: {answer.text[:300].strip()}"
        raise DeliveryError(self.name, reason, refused=is_refusal(answer.status_code))


NOT_REFUSALS: Final = frozenset({401, 403, 404, 405, 407, 408, 421, 425, 429})
"""4xx that speak of the way and not of the alerts (login, address, a proxy's limit): the alerts are kept and tried again."""


def is_refusal(status: int) -> bool:
    """Whether the same alerts would be refused again."""
    return status // 100 == 4 and status not in NOT_REFUSALS


def as_json(posting: Posting, now: float) -> dict[str, Any]:
    """One alert as API v2 wants it. ``endsAt`` is in the future while it fires, and the end once it is over."""
    ends_at = posting.resolved_at if posting.resolved_at is not None else now + OUTLIVES
    body: dict[str, Any] = {
        "labels": dict(posting.labels),
        "annotations": dict(posting.annotations),
        "startsAt": rfc3339(posting.starts_at),
        "endsAt": rfc3339(max(ends_at, posting.starts_at)),
    }
    if posting.url:
        body["generatorURL"] = posting.url
    return body


def rfc3339(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _session(config: AlertmanagerPeer) -> requests.Session:
    session = requests.Session()
    tls = config.tls
    if tls.cert_file is not None and tls.key_file is not None:
        session.cert = (tls.cert_file, tls.key_file)
    return session


def _try(tls: PeerTls) -> None:
    """Load the files once; raises OSError, ValueError when they cannot be used."""
    context = ssl.create_default_context(cafile=tls.ca_file)
    if tls.cert_file is not None:
        # A function, since a key with a password would be asked for on the terminal.
        context.load_cert_chain(tls.cert_file, tls.key_file, lambda: "")


def _verify(config: AlertmanagerPeer) -> bool | str:
    """Given with each request, since requests lets an environment variable overrule what a session says."""
    if config.tls.insecure_skip_verify:
        return False
    return config.tls.ca_file if config.tls.ca_file is not None else True


class _Headers(AuthBase):
    """Sets the Authorization header, or none; giving it keeps requests from looking into a .netrc file."""

    def __init__(self, authorization: str | None) -> None:
        self._authorization = authorization

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._authorization is not None:
            request.headers["Authorization"] = self._authorization
        return request


def _auth(config: AlertmanagerPeer) -> AuthBase:
    """Secrets are read anew for each request, so that a changed file counts at once."""
    if config.bearer_token_file is not None:
        return _Headers(f"Bearer {_read(read_token, config.bearer_token_file)}")
    if config.basic_auth is not None:
        password = _read(read_secret, config.basic_auth.password_file)
        return HTTPBasicAuth(config.basic_auth.username.encode(), password.encode())
    return _Headers(None)


def _read(read: Callable[[str], str], path: str) -> str:
    try:
        return read(path)
    except ValueError as error:
        raise ValueError(f"{path} cannot be used: {error}") from None
