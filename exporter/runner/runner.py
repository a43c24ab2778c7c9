"""The runner of one cluster: times, bounds and isolates the polls, merges what they give, and publishes Snapshots."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import structlog
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler

from exporter.collectors import COLLECTORS, Tools
from exporter.collectors.base import Clock, Collector
from exporter.config import ClusterConfig
from exporter.derive import progress_file
from exporter.derive.coverage import UNSUPPORTED
from exporter.derive.witnesses import MUTE_KINDS, OUR_OWN_KINDS
from exporter.facts.cluster import Node
from exporter.jmx.catalogue import shipped
from exporter.jmx.transport import JmxTransport
from exporter.kafka.client import KafkaReader
from exporter.kafka.rights import TOPIC_NOT_PERMITTED, missing_right
from exporter.quiet_log import QuietLog
from exporter.reading import Failure, Reading
from exporter.runner.builder import Builder, changes, missed
from exporter.runner.job import Attempt, Job
from exporter.runner.readings import Readings
from exporter.snapshot import Snapshot

TICK_S = 5.0
"""A Snapshot is rebuilt at least so often, so that facts vanish when they are too old though no poll ends."""
EARLY_GAP_S = 2.0
"""Polls of one collector start at least so far apart, however often they are asked for early."""
QUORUM_SILENCE_S = 2.0
"""So long after an answer of DescribeQuorum was due JMX is asked early."""
DEPARTURE_S = 20.0
"""For so long after a broker left JMX is asked early until it tells why."""
STOP_S = 2.0

JOB_OF = {
    "offsets": "groups",
    "legs": "cluster",
    "topic_configs": "configs",
    "quotas": "configs",
    "certificate_files": "certificates",
    "throttles": "reassignments",
    "throttled_topics": "reassignments",
    "stuck_offsets": "transactions",
    "producers": "transactions",
}
"""Owners of facts that are polled by another one's job."""

OnSnapshot = Callable[[Snapshot, frozenset[str]], None]


class NodeBook(Protocol):
    """Where the nodes that should be there survive a restart."""

    def load_nodes(self, cluster: str) -> list[Node]:
        """The nodes saved last; empty for a cluster that is new."""

    def save_nodes(self, cluster: str, nodes: Iterable[Node]) -> None:
        """Replace the cluster's nodes."""


class Runner:
    """Polls one cluster from ``start`` to ``stop``. Reader and transport belong to the caller, who closes them after ``stop``.

    ``on_snapshot`` gets every Snapshot in order, with the owners whose series may have changed, from one thread. What it raises is logged; while it is slow Snapshots are
    joined, and polls go on.
    """

    def __init__(
        self,
        config: ClusterConfig,
        reader: KafkaReader,
        jmx: JmxTransport | None,
        clock: Clock,
        on_snapshot: OnSnapshot,
        node_book: NodeBook,
        *,
        tick_s: float = TICK_S,
        early_gap_s: float = EARLY_GAP_S,
    ) -> None:
        self.cluster = reader.cluster
        self._config = config
        self._reader = reader
        self._jmx = jmx
        self._clock = clock
        self._on_snapshot = on_snapshot
        self._book = node_book
        self._tick_s = tick_s
        self._early_gap_s = early_gap_s
        self._log = structlog.get_logger(__name__).bind(cluster=self.cluster)
        self._quiet = QuietLog(self._log)
        self._changed = threading.Condition()
        self._build_lock = threading.RLock()
        self._stopping = False
        self._jobs = {job.name: job for job in self._make_jobs()}
        self._readings = Readings.none({job.name: job.interval for job in self._jobs.values()})
        self._merged = 0
        nodes = self._load_nodes()
        self._told_nodes: Mapping[int, Node] = {n.id: n for n in nodes}
        self._builder = Builder(self.cluster, nodes, self._off())
        self._snapshot = self._builder.build(self._readings, {}, clock())
        self._scheduler = BackgroundScheduler(
            executors={"default": ThreadPoolExecutor(len(COLLECTORS) + 2)},
            job_defaults={"max_instances": 1, "coalesce": True, "misfire_grace_time": None},
            timezone=UTC,
        )
        self._publisher = threading.Thread(target=self._publish_forever, name=f"publish-{self.cluster}", daemon=True)

    # --- for others

    def start(self) -> None:
        """Poll from now on; the first Snapshot with facts comes within seconds where Kafka answers, and Kafka being down is normal."""
        # A poll that takes longer than its interval is no news of APScheduler's to tell.
        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        self._reader.expect([n for n in self._builder.nodes.values() if n.host])
        self._publisher.start()
        for job in self._jobs.values():
            self._schedule(job)
        self._scheduler.start()

    def use(self, config: ClusterConfig, jmx: JmxTransport | None) -> None:
        """Take other intervals, collectors and JMX, and go on with all that is known. Kafka's addresses and security are the reader's and stay."""
        jmx_stays = config.jmx == self._config.jmx
        self._config, self._jmx = config, jmx
        before, fresh = self._jobs, {job.name: job for job in self._make_jobs()}
        kept = {
            name: before[name]
            for name, job in fresh.items()
            if name in before and before[name].interval == job.interval and (name != "jmx" or jmx_stays)
        }
        gone = [job for name, job in before.items() if name not in fresh]
        with self._build_lock, self._changed:
            self._jobs = {**fresh, **kept}
            for job in gone:
                self._readings = self._readings.without(job.registration.feeds)
            self._builder.switch_off(self._off())
            for job in before.values():
                if self._jobs.get(job.name) is not job:
                    job.give_up()
        for job in gone:
            self._scheduler.remove_job(job.name)
        for name in fresh.keys() - kept.keys():
            self._schedule(fresh[name])

    def stop(self) -> None:
        """End polling within 3 s, whatever hangs."""
        with self._changed:
            self._stopping = True
            attempts = [job.current for job in self._jobs.values() if job.current is not None]
            self._changed.notify_all()
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)
        for attempt in attempts:
            attempt.left.set()
        if self._publisher.is_alive():
            self._publisher.join(STOP_S)

    def snapshot(self) -> Snapshot:
        """The newest Snapshot; before the first poll one without facts."""
        return self._snapshot

    @property
    def nodes(self) -> Mapping[int, Node]:
        """Every node that should be there, by id."""
        return self._builder.nodes

    @property
    def reachable(self) -> bool:
        """Whether any node answered when it was last probed."""
        return self._snapshot.reachable

    def request_early(self, collectors: Iterable[str]) -> None:
        """Poll these now instead of at their next turn; polls that run are followed by another. Names of owners without a job are ignored."""
        for job in self._jobs_of(collectors):
            with self._changed:
                job.requested = True
                idle = not job.running and not self._stopping
            if idle:
                self._bring_forward(job)

    def wait_for(self, collectors: Iterable[str], after: float, timeout: float) -> frozenset[str]:
        """Wait until polls that started at or after ``after`` (Unix seconds) are in the Snapshot; the names for which that is so at the end of the wait."""
        names = {name: job for name in collectors for job in self._jobs_of([name])}

        def done() -> frozenset[str]:
            return frozenset(name for name, job in names.items() if job.published_start >= after)

        with self._changed:
            self._changed.wait_for(lambda: self._stopping or len(done()) == len(names), timeout)
            return done()

    def restore_progress(self, path: Path) -> str | None:
        """Take up what :meth:`save_progress` wrote, before ``start``; what was wrong with the file, in words, and then the groups' ages begin anew."""
        try:
            progress = progress_file.read(path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            return f"{path.name} cannot be used, lags in seconds begin anew: {error}"
        with self._build_lock:
            self._builder.progress = progress
        return None

    def save_progress(self, path: Path) -> None:
        """Write what is remembered of ends and commits; raises OSError."""
        with self._build_lock:
            state = self._builder.progress.state()
        progress_file.write(path, state)

    def answered(self, collectors: Iterable[str], after: float) -> bool:
        """Whether polls of all these that started at or after ``after`` (Unix seconds) are in the Snapshot."""
        jobs = self._jobs_of(collectors)
        with self._changed:
            return all(job.published_start >= after for job in jobs)

    def forget(self, node: int) -> bool:
        """Expect a node no longer; False when it is not known. It comes back if the cluster still names it."""
        with self._build_lock:
            known = node in self._builder.nodes
            self._builder.forget(node)
            self._reader.forget(node)
            self._keep_nodes()
        return known

    # --- jobs

    def _make_jobs(self) -> Iterable[Job]:
        for registration in COLLECTORS:
            settings = self._config.collectors.of(registration.name)
            if not settings.enabled or (
                registration.name == "jmx" and (self._jmx is None or not self._config.jmx_targets)
            ):
                continue
            interval = settings.interval if settings.interval is not None else registration.interval
            tools = Tools(
                self._reader,
                self._clock,
                interval,
                self._jmx,
                self._config.jmx_targets,
                shipped(),
                self._config.jmx_access,
            )

            def make(make: Callable[[Tools], Collector] = registration.make, tools: Tools = tools) -> Collector:
                return make(tools)

            yield Job(registration, interval, make)

    def _schedule(self, job: Job) -> None:
        """Poll from now on, in the place of an earlier job of this name."""
        self._scheduler.add_job(
            self._run,
            "interval",
            seconds=job.interval,
            id=job.name,
            args=(job,),
            next_run_time=datetime.now(UTC),
            replace_existing=True,
        )

    def _off(self) -> set[str]:
        """Owners that nobody polls."""
        off = {c.name for c in COLLECTORS} - self._jobs.keys()
        return off | {owner for owner, job in JOB_OF.items() if job in off}

    def _jobs_of(self, collectors: Iterable[str]) -> list[Job]:
        names = {JOB_OF.get(name, name) for name in collectors}
        return [job for name, job in self._jobs.items() if name in names]

    def _bring_forward(self, job: Job) -> None:
        # The turn that asks for another may still count as running, and then the other would be left out.
        wait = max(0.05, job.last_started + self._early_gap_s - time.monotonic())
        with suppress(JobLookupError):  # switched off meanwhile
            self._scheduler.modify_job(job.name, next_run_time=datetime.now(UTC) + timedelta(seconds=wait))

    def _run(self, job: Job) -> None:
        """One turn of a collector, in a thread of the scheduler's pool."""
        with self._changed:
            if self._stopping:
                return
            job.waiting = not self._has(job.registration.needs)
            if job.waiting:
                return
            job.running, job.requested, job.last_started = True, False, time.monotonic()
        try:
            self._poll(job)
        finally:
            with self._changed:
                job.running = False
                again = job.requested and not self._stopping
            if again:
                self._bring_forward(job)

    def _has(self, needs: Iterable[str]) -> bool:
        known = self._builder.known
        return all(getattr(known, need) is not None for need in needs)

    def _poll(self, job: Job) -> None:
        attempt = job.attempt(self._builder.known, self._clock, f"poll-{self.cluster}-{job.name}")
        if attempt is None:
            now = self._clock()
            self._take(job, None, Failure("hung", "earlier polls have not come back", now), now, 0.0)
            return
        if attempt.wait(job.limit):
            self._take(job, attempt, attempt.failure(), attempt.ended_at, attempt.seconds)
        elif not self._stopping:
            job.leave_behind(attempt)
            now = self._clock()
            self._take(job, None, Failure("hung", f"no end within {job.limit:g} s", now), now, job.limit)

    def _take(self, job: Job, attempt: Attempt | None, failure: Failure | None, at: float, duration: float) -> None:
        """Lay a poll over the readings."""
        with self._changed:
            if self._stopping or self._jobs.get(job.name) is not job:
                return
            try:
                if attempt is None or attempt.polls is None:
                    assert failure is not None
                    self._readings = self._readings.failed(job.registration.feeds, failure, at, duration)
                else:
                    self._readings = self._readings.merged(attempt.polls, at, duration)
            except Exception as error:  # noqa: BLE001 - facts that cannot be merged are their collector's failure only
                failure = Failure("internal", f"{type(error).__name__}: {error}", at)
                self._readings = self._readings.failed(job.registration.feeds, failure, at, duration)
            self._readings = self._readings.paced(job.registration.feeds, job.interval)
            job.merged_start = attempt.started_at if attempt is not None else at - duration
            self._merged += 1
            self._changed.notify_all()
        if attempt is not None and failure is not None and failure.kind == "internal":
            self._log.debug("collector_traceback", collector=job.name, exc_info=attempt.error)
        if job.name == "jmx" and {f.kind for f in self._readings.jmx.failures.values()} == OUR_OWN_KINDS:
            # The process that holds the Java machine starts, or starts anew: a whole interval without JMX would be lost.
            self.request_early(["jmx"])
        if job.name == "quorum" and any(f.kind not in MUTE_KINDS for f in self._readings.quorum.failures.values()):
            self.request_early(["jmx"])

    # --- publishing

    def _publish_forever(self) -> None:
        seen = 0
        while True:
            with self._changed:
                seen = self._await_polls(seen)
                if self._stopping:
                    return
                readings = self._readings
                starts = [(job, job.merged_start) for job in self._jobs.values()]
            try:
                self._publish(readings)
            except Exception as error:  # noqa: BLE001 - the next poll brings the next Snapshot
                kind = type(error).__name__
                self._quiet.failed("publish", kind, "snapshot_not_published", error=str(error), exc_info=error)
            else:
                self._quiet.ended("publish", "snapshot_published")
            with self._changed:
                for job, start in starts:
                    job.published_start = start
                self._changed.notify_all()
                waiting = [job.name for job in self._jobs.values() if job.waiting and self._has(job.registration.needs)]
            self.request_early(waiting)

    def _await_polls(self, seen: int) -> int:
        """Wait for a poll beyond the first ``seen``, or for the next tick; how many there are then."""
        self._changed.wait_for(lambda: self._stopping or self._merged > seen, self._tick_s)
        return self._merged

    def _publish(self, readings: Readings) -> None:
        with self._build_lock:
            before = self._snapshot
            snapshot = self._builder.build(readings, self._reader.requests(), self._clock())
            self._snapshot = snapshot
            self._keep_nodes()
        self._tell(before, snapshot)
        self._ask_early(snapshot)
        # Most would come by themselves; settings and certificates only minutes and an hour later.
        self.request_early(missed(before, snapshot))
        if snapshot.configs.parts and not before.configs.parts:
            # Only now the listeners are known whose certificates are to be looked at.
            self.request_early(["certificates"])
        self._on_snapshot(snapshot, changes(before, snapshot))

    def _ask_early(self, snapshot: Snapshot) -> None:
        """JMX tells why a broker left, and vouches for the controller while DescribeQuorum is silent."""
        silent = self._builder.quorum_silent_for(snapshot.at) > snapshot.quorum.interval + QUORUM_SILENCE_S
        open_since = max(self._builder.departures.pending.values(), default=float("-inf"))
        if silent or snapshot.at - open_since <= DEPARTURE_S:
            self.request_early(["jmx"])

    def _keep_nodes(self) -> None:
        """Tell the reader and the book when the nodes that should be there have changed."""
        nodes, told = self._builder.nodes, self._told_nodes
        if nodes is told or nodes == told:
            return
        self._told_nodes = nodes
        for node in told.keys() - nodes.keys():
            self._log.info("node_left", node=node, address=told[node].address)
            self._reader.forget(node)
        for node in nodes.keys() - told.keys():
            self._log.info("node_expected", node=node, address=nodes[node].address)
        self._reader.expect([n for n in nodes.values() if n.host])
        try:
            self._book.save_nodes(self.cluster, list(nodes.values()))
        except Exception as error:  # noqa: BLE001 - a book that fails must not stop the watching
            self._quiet.failed("book", type(error).__name__, "nodes_not_saved", error=str(error))
        else:
            self._quiet.ended("book", "nodes_saved")

    def _load_nodes(self) -> list[Node]:
        try:
            return self._book.load_nodes(self.cluster)
        except Exception as error:  # noqa: BLE001 - a book that fails must not stop the watching
            self._quiet.failed("book", type(error).__name__, "nodes_not_loaded", error=str(error))
            return []

    # --- logging of changes

    def _tell(self, before: Snapshot, now: Snapshot) -> None:
        old_trust, trust = before.derived.trust, now.derived.trust
        if trust.trusted != old_trust.trusted:
            log = self._log.info if trust.trusted else self._log.warning
            log("facts_trusted" if trust.trusted else "facts_not_trusted", reason=trust.reason)
        if now.derived.controller_alive is not before.derived.controller_alive:
            self._log.info("controller_alive", alive=now.derived.controller_alive)
        hidden = now.derived.hidden_topics
        if hidden is not None and hidden != (before.derived.hidden_topics or 0):
            log = self._log.warning if hidden else self._log.info
            log("topics_hidden", topics=hidden, right=missing_right("Metadata", TOPIC_NOT_PERMITTED))
        for broker in now.derived.departures.keys() - before.derived.departures.keys():
            self._log.info("broker_left", broker=broker, controlled=now.derived.departures[broker])
        old_readings = before.readings()
        for name, reading in now.readings().items():
            self._tell_failures(name, old_readings[name], reading)

    def _tell_failures(self, name: str, old: Reading[Any], reading: Reading[Any]) -> None:
        if old.polled_at == reading.polled_at:
            return
        lacking = _lacking(reading)
        if news := lacking.keys() - _lacking(old).keys():
            self._log.info(
                "collector_not_supported", collector=name, sources=sorted(news), reason=next(iter(lacking.values()))
            )
        for source, failure in reading.failures.items():
            if source not in lacking:
                self._quiet.failed(
                    f"{name} {source}",
                    failure.kind,
                    "collector_failing",
                    collector=name,
                    source=source,
                    error=failure.message,
                )
        for source in old.failures.keys() - reading.failures.keys():
            self._quiet.ended(f"{name} {source}", "collector_works_again", collector=name, source=source)


def _lacking(reading: Reading[Any]) -> dict[int, str]:
    """The sources that cannot have these facts at all, and why."""
    return {source: f.message for source, f in reading.failures.items() if f.kind == UNSUPPORTED}
