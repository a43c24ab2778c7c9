"""Collector ``certificates``: what every TLS listener that is known shows, JMX included, and the certificates in Klaxon's own files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from exporter.collectors.base import Clock, Known, Polls
from exporter.facts.certificates import CertificateFile, Listener, Shown
from exporter.facts.configs import Settings
from exporter.jmx.access import TlsFiles
from exporter.jmx.transport import split_address
from exporter.kafka.client import KafkaReader
from exporter.kafka.security import SecurityConfig
from exporter.reading import WHOLE_CLUSTER, Failure, Part, Poll

TLS = frozenset({"SSL", "SASL_SSL"})
_EVERYWHERE = frozenset({"", "0.0.0.0", "[::]"})


class CertificatesCollector:
    """A cluster without TLS, as far as its brokers' settings are known, cannot have these facts."""

    def __init__(
        self, reader: KafkaReader, clock: Clock, jmx: Mapping[int, str] | None = None, jmx_tls: TlsFiles | None = None
    ) -> None:
        self._reader = reader
        self._clock = clock
        # RMI checks no host name. A registry without TLS shows no certificate, and the port behind it is told to those who log in only.
        behind_tls = jmx if jmx is not None and jmx_tls is not None and jmx_tls.registry else {}
        self._jmx = [_jmx_listener(node, address) for node, address in sorted(behind_tls.items())]
        self._jmx_security = _jmx_security(jmx_tls) if jmx_tls is not None else None

    def poll(self, known: Known) -> Polls:
        """See Collector."""
        return Polls(certificates=self._listeners(known), certificate_files=self._files())

    def _listeners(self, known: Known) -> Poll[Sequence[Shown]]:
        listeners = tls_listeners(known, self._reader.tls)
        now = self._clock()
        if not listeners and not self._jmx:
            nothing = Failure("unsupported", "no listener with TLS is known", now)
            return Poll({}, dict.fromkeys(sorted(known.brokers), nothing), known.brokers)
        by_node: dict[int, list[Shown]] = {}
        for shown in (*self._reader.certificates(listeners), *self._jmx_shown()):
            by_node.setdefault(shown.listener.node, []).append(shown)
        silent = {n: all(s.chain is None for s in found) for n, found in by_node.items()}
        at = self._clock()
        return Poll(
            {n: Part(tuple(found), at) for n, found in by_node.items()},
            {n: Failure(found[0].kind, found[0].problem, at) for n, found in by_node.items() if silent[n]},
            frozenset(by_node),
        )

    def _jmx_shown(self) -> Sequence[Shown]:
        return self._reader.certificates(self._jmx, self._jmx_security) if self._jmx else ()

    def _files(self) -> Poll[Sequence[CertificateFile]]:
        jmx = self._reader.own_certificates(self._jmx_security) if self._jmx_security is not None else ()
        files, now = tuple(dict.fromkeys((*self._reader.own_certificates(), *jmx))), self._clock()
        if files:
            return Poll({WHOLE_CLUSTER: Part(files, now)})
        return Poll({}, {WHOLE_CLUSTER: Failure("unsupported", "no certificate files are configured", now)})


def tls_listeners(known: Known, entered_by_tls: bool) -> list[Listener]:
    """The addresses by which we enter ourselves, and the other TLS listeners that brokers name in their settings: advertised ones, and those of voters."""
    found: dict[tuple[int, str, int], Listener] = {}
    hosts = {n.id: n.host for n in known.cluster.brokers} if known.cluster is not None else {}
    for node, settings in sorted((known.settings or {}).items()):
        for listener in (*_own(node, settings, hosts.get(node, "")), *_voters(settings)):
            found.setdefault((listener.node, listener.host, listener.port), listener)
    for broker in known.cluster.brokers if known.cluster is not None and entered_by_tls else ():
        if broker.host:
            found.setdefault((broker.id, broker.host, broker.port), Listener(broker.id, "", broker.host, broker.port))
    return [found[key] for key in sorted(found)]


def _own(node: int, settings: Settings, known_host: str) -> Iterable[Listener]:
    """``advertised.listeners``, which are ``listeners`` where they are not set, as NAME://host:port, with a TLS protocol.

    A listener on every interface has no host of its own: there the broker's known one stands.
    """
    tls = _tls_names(settings)
    for word in _words(settings, "advertised.listeners") or _words(settings, "listeners"):
        name, _, address = word.partition("://")
        host, _, port = address.rpartition(":")
        host = known_host if host in _EVERYWHERE else host.strip("[]")
        if name.upper() in tls and host and port.isdecimal():
            yield Listener(node, name.upper(), host, int(port))


def _voters(settings: Settings) -> Iterable[Listener]:
    """``controller.quorum.voters``, as id@host:port, where controllers speak TLS."""
    names = _words(settings, "controller.listener.names")
    if not names or names[0].upper() not in _tls_names(settings):
        return
    for word in _words(settings, "controller.quorum.voters"):
        node, _, address = word.partition("@")
        host, _, port = address.rpartition(":")
        if node.isdecimal() and host and port.isdecimal():
            yield Listener(int(node), names[0].upper(), host.strip("[]"), int(port))


def _tls_names(settings: Settings) -> frozenset[str]:
    """Listener names whose protocol is TLS: by the map, and by the default that a listener is called as its protocol."""
    pairs: Mapping[str, str] = {
        name.upper(): protocol.upper()
        for name, _, protocol in (w.partition(":") for w in _words(settings, "listener.security.protocol.map"))
    }
    return frozenset(name for name, protocol in {**{p: p for p in TLS}, **pairs}.items() if protocol in TLS)


def _jmx_listener(node: int, address: str) -> Listener:
    host, port = split_address(address)
    return Listener(node, "JMX", host, port)


def _jmx_security(tls: TlsFiles) -> SecurityConfig:
    return SecurityConfig(
        protocol="SSL",
        ca_file=tls.ca_file,
        certificate_file=tls.certificate_file,
        key_file=tls.key_file,
        verify_hostname=False,
    )


def _words(settings: Settings, name: str) -> list[str]:
    setting = settings.get(name)
    return [w.strip() for w in (setting.value if setting is not None and setting.value else "").split(",") if w.strip()]
