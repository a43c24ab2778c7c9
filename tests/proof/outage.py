"""All brokers killed at once and started again later: the page is served all along, facts age and vanish, none turns zero, one page is sent, and Klaxon recovers as it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import requests

from exporter.collectors import COLLECTORS, reading_interval
from exporter.metrics.catalogue import complete
from exporter.metrics.rows.row import MetricRow, Owner
from exporter.reading import FRESH_INTERVALS
from tests.klaxon_process import LabelSet, Page, wait_until
from tests.proof.report import Row
from tests.proof.stage import Stage, attempted, stage

OUTAGE_S = 105.0
"""Longer than the facts of log_dirs may be shown."""
ANSWER_S = 1.0
PUBLISHED_S = 6.0
"""A Snapshot is built every 5 s though no poll ends."""
RECOVERY_S = 60.0
PROBLEM = "KafkaAllBrokersUnavailable"
OWN = frozenset({Owner.SELF, Owner.LEGS})
READING_OF = {"offsets": "end_offsets", "departures": "cluster"}
"""Owner -> the reading that its families live on, where it has another name."""
STANDING = (
    "kafka_cluster_info",
    "kafka_brokers",
    "kafka_broker_up",
    "kafka_topic_partitions",
    "kafka_topic_partition_replicas",
    "kafka_topic_partition_in_sync_replica",
    "kafka_topic_min_insync_replicas",
    "kafka_partitions_under_replicated",
    "kafka_log_dir_total_bytes",
    "kafka_broker_config_value",
)
"""Families whose values an outage leaves as they were."""


def prove(only: str | None) -> Iterator[list[Row]]:
    if only is None or only in "outage":
        with stage() as on_stage:
            yield attempted("outage", partial(outage, on_stage))


@dataclass(frozen=True, slots=True)
class Scrape:
    """One answer of /metrics; ``page`` is None where there was none. ``at`` is when it was asked for (monotonic seconds)."""

    at: float
    seconds: float
    page: Page | None


@dataclass
class Scraper:
    """Asks for the page each second, whatever else goes on."""

    url: str
    scrapes: list[Scrape] = field(default_factory=list)
    _end: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Scraper:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(1.0):
            self.scrapes.append(scrape(self.url))


def scrape(url: str) -> Scrape:
    begun = time.monotonic()
    try:
        answer = requests.get(f"{url}/metrics", timeout=10)
    except requests.RequestException:
        return Scrape(begun, time.monotonic() - begun, None)
    return Scrape(begun, time.monotonic() - begun, Page(answer.text) if answer.ok else None)


def outage(on_stage: Stage) -> list[Row]:
    klaxon, cluster = on_stage.klaxon, on_stage.cluster
    process = klaxon.process
    assert process is not None
    before = klaxon.page()
    with Scraper(klaxon.url) as scraper:
        killed, broken = time.monotonic(), time.time()
        on_stage.say("outage: kill -9 of every broker")
        for node in cluster.node_ids:
            cluster.kill_node(node)
        wait_until(lambda: time.monotonic() - killed >= OUTAGE_S, OUTAGE_S + 5, "the outage is over", every=1)
        down = list(scraper.scrapes)
        on_stage.say("outage: all start")
        cluster.start_nodes()
        up = time.monotonic()
        on_stage.say("outage: all are unfenced")
        wait_until(lambda: not uncovered(klaxon.page()), RECOVERY_S * 2, "everything is covered", every=0.5)
        covered = time.monotonic() - up
        on_stage.say(f"outage: everything is covered after {covered:.1f} s")
        while (other := changed(before, klaxon.page())) and time.monotonic() - up < RECOVERY_S:
            time.sleep(1)
        as_before = time.monotonic() - up
        on_stage.say(f"outage: other than before after {as_before:.1f} s: {said(other)}")
        scrapes = list(scraper.scrapes)
    wait_until(lambda: not on_stage.open_incidents(), 300, "the incident is closed", every=1)
    opened = [f"{i['problem']} {i['subject']} {i['severity']}" for i in klaxon.incidents() if i["opened_at"] >= broken]
    paged = [
        (n.status, a["labels"]["alertname"], a["labels"]["severity"]) for n in on_stage.paged(broken) for a in n.alerts
    ]
    firing = [f"{name} {severity}" for status, name, severity in paged if status == "firing"]
    zeros, late, young = new_zeros(before, down), shown_too_long(down, killed), young_ages(before, down, killed)
    slowest = max(s.seconds for s in scrapes)
    return [
        Row(
            f"all brokers down: /metrics answers within {ANSWER_S:g} s",
            all(s.page is not None for s in scrapes) and slowest < ANSWER_S,
            f"{len(scrapes)} scrapes, the slowest {slowest:.3f} s",
        ),
        Row("all brokers down: ages grow", not young, said(young)),
        Row("all brokers down: nothing that is read from Kafka turns zero", not zeros, said(zeros)),
        Row("all brokers down: what is older than three intervals vanishes", not late, said(late)),
        Row(
            f"all brokers down: exactly one page, {PROBLEM}",
            firing == [f"{PROBLEM} critical"],
            f"{'; '.join(firing) or 'none'}; incidents: {'; '.join(opened) or 'none'}",
        ),
        Row(
            f"all brokers back: everything is covered within {RECOVERY_S:.0f} s",
            covered <= RECOVERY_S,
            f"{covered:.1f} s after the last broker was unfenced",
        ),
        Row(
            f"all brokers back: every family and standing value as before within {RECOVERY_S:.0f} s",
            not other,
            said(other) if other else f"{as_before:.1f} s after the last broker was unfenced",
        ),
        Row(
            "all brokers back: without a restart",
            process is klaxon.process and process.poll() is None,
            "the same process all along",
        ),
    ]


def said(seen: set[str]) -> str:
    shown = sorted(seen)
    return "; ".join(shown[:5]) + (f"; and {len(shown) - 5} more" if len(shown) > 5 else "") or "none seen"


# --- what is on a page --------------------------------------------------------------------------------------------------------------------


def from_kafka(page: Page) -> Iterator[tuple[MetricRow, Mapping[LabelSet, float]]]:
    """The families on the page that live on the brokers' word."""
    for name, series in page.samples.items():
        row = complete().get(name)
        if row is not None and row.cluster and not OWN & set(row.inputs):
            yield row, series


def freshness(row: MetricRow) -> float:
    """Seconds for which a family may be shown after the last poll that gave it."""
    every = {r: reading_interval(r, c.interval) for c in COLLECTORS for r in c.feeds}
    return FRESH_INTERVALS * min(every[READING_OF.get(owner, owner)] for owner in row.inputs)


def new_zeros(before: Page, scrapes: list[Scrape]) -> set[str]:
    return {
        f"{row.name} {sorted(key)}"
        for s in scrapes
        if s.page is not None
        for row, series in from_kafka(s.page)
        for key, value in series.items()
        if value == 0 and before.samples.get(row.name, {}).get(key) != 0
    }


def shown_too_long(scrapes: list[Scrape], killed: float) -> set[str]:
    return {
        f"{row.name} after {s.at - killed:.0f} s"
        for s in scrapes
        if s.page is not None
        for row, _ in from_kafka(s.page)
        if s.at - killed > freshness(row) + PUBLISHED_S
    }


def young_ages(before: Page, scrapes: list[Scrape], killed: float) -> set[str]:
    """Sources whose age is lower than it can be, or gone; what has no age before the outage has none."""
    known = before.samples["klaxon_collector_age_seconds"]
    young: set[str] = set()
    for s in scrapes:
        ages = s.page.samples["klaxon_collector_age_seconds"] if s.page is not None else known
        for key in known:
            if key not in ages or ages[key] < s.at - killed - PUBLISHED_S:
                young.add(f"{'/'.join(dict(key)[n] for n in ('collector', 'source'))}: {ages.get(key)}")
    return young


def uncovered(page: Page) -> set[tuple[str, ...]]:
    return {key for key, covered in page.by("klaxon_collector_covered", "collector", "source").items() if covered != 1}


def changed(before: Page, now: Page) -> set[str]:
    """Families that are still missing, and standing values that are others or missing. A bean may first appear with what it counts, so JMX need not be whole."""
    gone = {
        row.name
        for row, _ in from_kafka(before)
        if not row.sparse and row.owner is not Owner.JMX and row.name not in now.samples
    }
    return gone | {name for name in STANDING if not before.select(name).items() <= now.select(name).items()}
