"""The stage of a proof: a real cluster with traffic, a real Alertmanager under the shipped configuration, a webhook that counts, and Klaxon."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import demo
from demo import traffic
from tests.alertmanager import CountingWebhook, Notification, RealAlertmanager
from tests.klaxon_process import Klaxon, wait_until
from tests.on_cluster import klaxon_config
from tests.proof.report import Row

PAGING = ("warning", "critical")


@dataclass(frozen=True, slots=True)
class Stage:
    """All parts running. ``say`` prints progress with the seconds since the start."""

    cluster: demo.Cluster
    alertmanager: RealAlertmanager
    webhook: CountingWebhook
    klaxon: Klaxon
    begun: float

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self.begun:7.1f} s  {text}", flush=True)

    def paged(self, since: float = 0.0) -> list[Notification]:
        """Notifications at warning or above that arrived after ``since`` (Unix time), oldest first."""
        return [
            n
            for n in self.webhook.pages()
            if n.at >= since and any(a["labels"].get("severity") in PAGING for a in n.alerts)
        ]

    def open_incidents(self) -> list[dict[str, Any]]:
        """Klaxon's open incidents at warning or above."""
        return [i for i in self.klaxon.incidents() if i["closed_at"] is None and i["severity"] in PAGING]

    def wait_calm(self, limit: float = 300) -> None:
        """The cluster is healthy, no incident is open and Klaxon covers everything."""
        self.cluster.wait_healthy()

        def calm() -> bool:
            covered = self.klaxon.page().select("klaxon_collector_covered")
            return not self.open_incidents() and bool(covered) and all(v == 1 for v in covered.values())

        wait_until(calm, limit, "no incident is open and everything is covered", every=1)


@contextlib.contextmanager
def stage(rate: float = traffic.DEFAULT_RATE, **configuration: Any) -> Iterator[Stage]:
    """Everything up and calm; everything gone afterwards."""
    begun = time.monotonic()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="klaxon-proof-")))
        cluster = stack.enter_context(demo.start(folder / "cluster"))
        traffic.start(cluster, rate)
        webhook = stack.enter_context(CountingWebhook())
        alertmanager = stack.enter_context(RealAlertmanager(folder / "alertmanager", webhook))
        klaxon = Klaxon(
            folder / "klaxon",
            klaxon_config(cluster, [alertmanager.url], **configuration),
        )
        stack.callback(klaxon.close)
        klaxon.start()
        on_stage = Stage(cluster, alertmanager, webhook, klaxon, begun)
        on_stage.wait_calm()
        on_stage.say("everything is up and calm")
        yield on_stage


def attempted(name: str, prove: Callable[[], list[Row]]) -> list[Row]:
    """The rows of one proof; one that broke off is a promise that was not kept, and the next ones still get their turn."""
    try:
        rows = prove()
    except (AssertionError, demo.DemoError) as error:
        rows = [Row(f"{name}: could be shown to its end", False, str(error).splitlines()[0])]
    return [replace(row, trial=name) for row in rows]
