"""Hands out the transport that a cluster's configuration names; clusters share one where they can."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Literal

from exporter.jmx.access import Access, TlsFiles
from exporter.jmx.catalogue import Catalogue
from exporter.jmx.jmxquery_transport import JmxQueryTransport
from exporter.jmx.jpype_transport import JpypeTransport
from exporter.jmx.prometheus_transport import PrometheusTransport
from exporter.jmx.transport import JmxTransport

TransportName = Literal["jpype", "jmxquery", "prometheus"]


class Transports:
    """Makes each transport when it is first wanted. Safe for several threads."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._lock = threading.Lock()
        self._made: dict[tuple[str, TlsFiles | None], JmxTransport] = {}

    def get(self, name: TransportName, access: Access) -> JmxTransport:
        """The transport for clusters that are entered so. Java knows one set of TLS files per machine, so clusters with other ones have a machine of their own."""
        key = (name, access.tls if name == "jpype" else None)
        with self._lock:
            if key not in self._made:
                make: dict[str, Callable[[], JmxTransport]] = {
                    "jpype": lambda: JpypeTransport(access.tls),
                    "jmxquery": JmxQueryTransport,
                    "prometheus": lambda: PrometheusTransport(self._catalogue),
                }
                self._made[key] = make[name]()
            return self._made[key]

    def close(self) -> None:
        """Close all of them."""
        with self._lock:
            for transport in self._made.values():
                transport.close()
            self._made.clear()
