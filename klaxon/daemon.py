"""The daemon: makes every part, ties them together, and keeps the rule loop, the checkpoints and the reload going."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector

from alerts.book.book import Book
from alerts.book.errors import BookError
from alerts.diagnosis import text
from alerts.diagnosis.desk import Desk, Surroundings
from alerts.diagnosis.incidents import Settings
from alerts.diagnosis.postings import Links
from alerts.diagnosis.walk import Case, World, walk
from alerts.engine.engine import Engine
from alerts.engine.maintenance import window_of
from alerts.engine.needs import retention
from alerts.model import Finding, Incident, Sent, Severity
from alerts.notify.config import AlertmanagerPeer
from alerts.notify.delivery import Delivery
from alerts.notify.watch import Watch
from alerts.promql.evaluate import Evaluator
from alerts.promql.parse import parse
from alerts.promql.values import Value
from exporter.config import ClusterConfig, same_connections
from exporter.facts.cluster import Node
from exporter.history.history import History
from exporter.jmx.catalogue import shipped
from exporter.jmx.transports import Transports
from exporter.kafka.reader import Reader
from exporter.metrics.catalogue import ALERTS_ROWS, complete
from exporter.metrics.page import EVERYTHING, Page, Scope
from exporter.quiet_log import QuietLog
from exporter.reading import Coverage
from exporter.runner import Runner
from exporter.series import Series
from exporter.snapshot import Snapshot
from klaxon import version
from klaxon.config import Config, ConfigError, Loaded
from klaxon.lines import Line
from klaxon.maintenance import windows_of
from klaxon.observed import Observed
from klaxon.own_series import OwnSeries
from klaxon.web.app import create_app
from klaxon.web.server import WebServer, bind
from klaxon.web.view import AlertView, ClusterView, IncidentView

log = structlog.get_logger(__name__)

CHECKPOINT_S: Final = 60.0
COARSE_S: Final = 6 * 3600.0
"""How long families without a partition label are kept at least, for people who look back."""
TICK_S: Final = 1.0
"""The rule loop looks at incidents at least this often: their waits end between evaluations too."""
FORGET_S: Final = 2.0
ADOPT_S: Final = 30.0
"""A reload that is not taken up within so many seconds has failed."""
CHECKPOINT_FILE: Final = "history.checkpoint"
PROGRESS_S: Final = 300.0
"""How often what is remembered of offsets and commits is written: it is large, and what is missing costs only resolution."""


class Daemon:
    """One Klaxon. ``start``, then ``stop``; in between everything runs in its own threads. ``reload_from`` reads the configuration again."""

    def __init__(
        self, loaded: Loaded, reload_from: Callable[[], Loaded], clock: Callable[[], float] = time.time
    ) -> None:
        config = loaded.config
        self._loaded = loaded
        self._reload_from = reload_from
        self._clock = clock
        self._started_at = clock()
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._reload_lock = threading.Lock()
        self._adopting: Loaded | None = None
        self._adopted = threading.Event()
        self._listener = bind(config.web.host, config.web.port)
        self.url = config.web.external_url or f"http://{_shown_host(config.web.host)}:{self._listener.getsockname()[1]}"
        self._data_dir = Path(config.data_dir)
        self._data_dir.mkdir(parents=True, exist_ok=True)
        self._quiet = QuietLog(log)
        self._registry = CollectorRegistry()
        ProcessCollector(namespace="klaxon", registry=self._registry)
        self._observed = Observed(self._registry, self._quiet, clock)
        self._book = Book(self._data_dir, clock, warn=lambda said: log.warning("book", said=said))
        self._history = History()
        self._history.keep(requirements(loaded))
        self._own_series = OwnSeries(self._registry, self._history)
        self._page = Page(complete(), self._registry)
        self._evaluator = Evaluator(self._history)
        self._jmx = Transports(shipped())
        self._lines: Mapping[str, Line] = {}
        self._readers: Mapping[str, Reader] = {}
        self._runners: Mapping[str, Runner] = {}
        for name, cluster in config.clusters.items():
            self._add_cluster(name, cluster)
        self._engine = Engine(
            loaded.rules,
            self._evaluator,
            self._coverage,
            self._book,
            clock,
            sink=self._history,
            observer=self._observed,
            external_url=self.url,
            external_labels=config.external_labels,
        )
        self._added_windows = tuple(windows_of(self._book, clock()))
        quiet_book, links = QuietBook(self._book, self._observed), Links(self.url)
        self._watch = Watch(clock)
        self._outbox = Delivery(self._registry, clock, ledger=quiet_book, links=links, changed=self._peers_changed)
        self._use_peers(config)
        surroundings = Surroundings(self._world, self._request_early, self._answered, clock, self._watch.shown)
        self._desk = Desk(
            loaded.trees, quiet_book, self._outbox, surroundings, self._settings(config), links, config.external_labels
        )
        self._web = WebServer(create_app(self), self._listener)
        self._rules_thread = threading.Thread(target=self._rule_loop, name="rules", daemon=True)
        self._keeping_thread = threading.Thread(target=self._keeping_loop, name="keeping", daemon=True)
        self._rules_alive_at = clock()

    # --- life

    def start(self) -> None:
        """Take up what was kept, then start every part; the web server first, so that health can be asked at once."""
        self._web.start()
        restored = self._history.load(self._data_dir / CHECKPOINT_FILE, self._clock())
        if restored.warning:
            log.warning("history", said=restored.warning)
        self._engine.restore()
        self._desk.restore()
        self._count()  # before rules ask for it
        self._outbox.start()
        for name, runner in self._runners.items():
            self._start(name, runner)
        self._rules_thread.start()
        self._keeping_thread.start()
        log.info(
            "started", version=version(), url=self.url, clusters=sorted(self._lines), history_series=restored.series
        )

    def stop(self) -> None:
        """End every part within about four seconds: collectors, rules, delivery, then what is kept."""
        self._stopping.set()
        self._wake.set()
        ends = [threading.Thread(target=runner.stop, daemon=True) for runner in self._runners.values()]
        for end in ends:
            end.start()
        self._rules_thread.join(1.0)
        self._watch.stop()
        self._outbox.stop(1.0)
        for end in ends:
            end.join(1.0)
        for reader in self._readers.values():
            reader.close()
        self._jmx.close()
        self._web.stop(0.5)
        self._checkpoint()
        self._save_progress()
        self._book.close()
        log.info("ended")

    # --- the rule loop

    def _rule_loop(self) -> None:
        while not self._stopping.is_set():
            try:
                self._pass()
            except Exception as error:  # the rule loop outlives any fault of one pass
                log.exception("rule pass failed")
                self._quiet.failed("rules", type(error).__name__, "rule pass failed", error=str(error))
            else:
                self._quiet.ended("rules", "rule passes work again")
            now = self._clock()
            self._wake.wait(max(0.05, min(self._engine.next_due(now) - now, TICK_S)))
            if not self._stopping.is_set():
                self._wake.clear()

    def _pass(self) -> None:
        adopting, self._adopting = self._adopting, None
        if adopting is not None:
            self._adopt(adopting)
            self._adopted.set()
        self._own_series.sample(self._clock())
        self._engine.evaluate_due()
        self._desk.settings = self._settings(self._loaded.config)
        self._desk.tick(self._engine.alerts())
        self._count()
        self._rules_alive_at = self._clock()

    def _count(self) -> None:
        self._observed.counted(
            self._engine.alerts(), self._desk.incidents, self._book.healthy, self._history.stats().series
        )

    def _coverage(self) -> Mapping[str, Coverage]:
        return {name: line.coverage() for name, line in self._lines.items()}

    def _world(self, cluster: str, at: float) -> World:
        line = self._lines.get(cluster)
        config = self._loaded.config.clusters.get(cluster)
        servers = ",".join(config.bootstrap_servers) if config is not None else ""
        return World(self._evaluator, at, line.coverage() if line is not None else None, servers)

    def _request_early(self, cluster: str, collectors: frozenset[str]) -> None:
        runner = self._runners.get(cluster)
        if runner is not None:
            runner.request_early(collectors)

    def _answered(self, cluster: str, collectors: frozenset[str], since: float) -> bool:
        runner = self._runners.get(cluster)
        return runner is not None and runner.answered(collectors, since)

    # --- checkpoints

    def _keeping_loop(self) -> None:
        """Checkpoints, and what other processes wrote into the book for us."""
        saved = progress_saved = time.monotonic()
        while not self._stopping.wait(FORGET_S):
            self._forget()
            self._maintain()
            if time.monotonic() - saved >= CHECKPOINT_S:
                saved = time.monotonic()
                self._checkpoint()
            if time.monotonic() - progress_saved >= PROGRESS_S:
                progress_saved = time.monotonic()
                self._save_progress()

    def _forget(self) -> None:
        for name, runner in self._runners.items():
            for node in take_forgotten(self._book, name):
                runner.forget(node)
                log.info("node forgotten", cluster=name, node=node)

    def _maintain(self) -> None:
        """Windows that the command added or ended since the last look; the next pass works with them."""
        added = tuple(windows_of(self._book, self._clock()))
        if added != self._added_windows:
            self._added_windows = added
            log.info("maintenance", windows=[window.name for window in (*self._loaded.config.maintenance, *added)])

    def _settings(self, config: Config) -> Settings:
        own = config.incidents
        return Settings(
            settle=own.settle,
            close_after=own.close_after,
            quiet_period=own.quiet_period,
            storm_limit=own.storm_limit,
            windows=(*config.maintenance, *self._added_windows),
            routes=tuple(config.routing),
            instance=config.instance,
        )

    def _checkpoint(self) -> None:
        try:
            self._history.save(self._data_dir / CHECKPOINT_FILE)
        except OSError as error:
            self._quiet.failed("checkpoint", str(error.errno), "history cannot be written", error=str(error))
        else:
            self._quiet.ended("checkpoint", "history can be written again")

    def _start(self, name: str, runner: Runner) -> None:
        said = runner.restore_progress(self._progress_file(name))
        if said is not None:
            log.warning("progress", cluster=name, said=said)
        runner.start()

    def _save_progress(self) -> None:
        for name, runner in self._runners.items():
            try:
                runner.save_progress(self._progress_file(name))
            except OSError as error:
                self._quiet.failed("progress", name, "offsets and times cannot be written", error=str(error))
            else:
                self._quiet.ended("progress", "offsets and times can be written again")

    def _progress_file(self, cluster: str) -> Path:
        return self._data_dir / f"offsets.{cluster}.npz"

    # --- what the web server shows

    def metrics(
        self, accept_encoding: str, scope: Scope = EVERYTHING, accept: str = ""
    ) -> tuple[Mapping[str, str], Iterable[bytes]]:
        return self._page.render(accept_encoding, scope, accept)

    def own_metrics(self, accept_encoding: str, accept: str = "") -> tuple[Mapping[str, str], Iterable[bytes]]:
        return self._page.render_own(accept_encoding, accept)

    def nodes(self, cluster: str) -> Sequence[Node]:
        runner = self._runners.get(cluster)
        return sorted(runner.nodes.values(), key=lambda node: node.id) if runner is not None else []

    def clusters(self) -> Sequence[str]:
        return sorted(self._lines)

    def states(self) -> Sequence[ClusterView]:
        shown = [_state(line, self._desk.incidents) for _, line in sorted(self._lines.items())]
        order = ("critical", "warning", "unknown", "ok")
        return sorted(shown, key=lambda view: order.index(view.state))

    def incidents(self) -> Sequence[IncidentView]:
        known = {i.id: i for i in self._book.load_incidents()} | {i.id: i for i in self._desk.incidents}
        latest = sorted(known.values(), key=lambda i: (i.closed_at is not None, -i.severity.rank, -i.opened_at))
        sent: dict[str, list[Sent]] = {}
        for one in self._book.sent():
            sent.setdefault(one.incident, []).append(one)
        return [self._view(i, sent.get(i.id, ())) for i in latest[:200]]

    def alerts(self) -> Sequence[AlertView]:
        """Worst first."""
        open_ones = [i for i in self._desk.incidents if i.closed_at is None]
        windows, now = self._desk.settings.windows, self._clock()
        views = []
        for alert in sorted(self._engine.alerts(), key=lambda a: (not a.active, -a.severity.rank, a.active_at)):
            own = [i for i in open_ones if alert.fingerprint in i.alerts]
            window = window_of(windows, alert.cluster, alert.subject, now)
            names = [i.maintenance for i in own if i.maintenance] or ([window.name] if window is not None else [])
            views.append(AlertView(alert, [i.id for i in own], ", ".join(dict.fromkeys(names))))
        return views

    def incident(self, incident_id: str) -> IncidentView | None:
        return next((view for view in self.incidents() if view.incident.id == incident_id), None)

    def _view(self, incident: Incident, sent: Sequence[Sent]) -> IncidentView:
        delivered = text.deliveries(incident, sent, self._outbox.pending().keys())
        page = text.page(incident, self._clock(), delivered=delivered)
        history = [f"{text.clock(at)} {said}" for at, said in incident.history]
        return IncidentView(incident, page.split("\n", 1)[0], incident.rules, history, delivered, page)

    def not_ready(self) -> Sequence[str]:
        waiting = [
            name
            for name, line in sorted(self._lines.items())
            if line.snapshot is None or not line.snapshot.cluster_facts.polled_at
        ]
        return [f"cluster {name} has not been polled yet" for name in waiting]

    def unhealthy(self) -> Sequence[str]:
        problems = []
        if self._rules_thread.is_alive() and self._clock() - self._rules_alive_at > 60:
            problems.append(f"the last rule pass ended {self._clock() - self._rules_alive_at:.0f} s ago")
        if not self._rules_thread.is_alive() and self._rules_thread.ident is not None:
            problems.append("the rule loop has stopped")
        return problems

    def query(self, expr: str, at: float) -> Value:
        return Evaluator(self._history).evaluate(parse(expr), at)

    def query_range(self, expr: str, start: float, end: float, step: float) -> Sequence[Series]:
        return Evaluator(self._history).evaluate_range(parse(expr), start, end, step)

    def diagnose(
        self, cluster: str | None, tree: str | None, names: Mapping[str, str]
    ) -> Sequence[tuple[Finding, str]]:
        return diagnose(self._loaded, self.clusters(), self._world, self._clock(), cluster, tree, names)

    # --- reload

    def reload(self) -> Sequence[str]:
        """Read the configuration again and take up what changed; problems if nothing was taken up."""
        with self._reload_lock:
            problems = self._reloaded()
            self._observed.reloaded(None if problems else self._clock())
            if problems:
                log.warning("reload refused", problems=problems)
            return problems

    def _reloaded(self) -> Sequence[str]:
        try:
            fresh = self._reload_from()
        except ConfigError as error:
            return error.problems
        fixed = _needs_restart(self._loaded.config, fresh.config)
        if fixed:
            return [f"{key} has changed, which needs a restart" for key in fixed]
        self._adopting, self._adopted = fresh, threading.Event()
        self._wake.set()
        if not self._adopted.wait(ADOPT_S):
            return [f"the rule loop has not taken it up within {ADOPT_S:g} s; the log says why"]
        log.info("reloaded", clusters=sorted(self._lines), rules=len(list(fresh.rules.alerting)))
        return []

    def _adopt(self, fresh: Loaded) -> None:
        """In the rule loop's thread, which owns the engine and the desk."""
        before, self._loaded = self._loaded.config, fresh
        config = fresh.config
        self._history.keep(requirements(fresh))
        self._engine.reload(fresh.rules, config.external_labels)
        self._desk.trees = fresh.trees
        self._desk.external_labels = config.external_labels
        self._use_peers(config)
        for name in before.clusters.keys() | config.clusters.keys():
            self._adopt_cluster(name, before.clusters.get(name), config.clusters.get(name))
        if config.thresholds != before.thresholds:
            for line in self._lines.values():
                line.use_thresholds(config.thresholds)
        self._engine.keep_clusters(config.clusters.keys())

    def _use_peers(self, config: Config) -> None:
        self._watch.use_clusters(config.clusters)
        self._outbox.use(config.alertmanagers, config.webhooks)

    def _peers_changed(self, peers: Sequence[AlertmanagerPeer]) -> None:
        """Which Alertmanagers there are; only one of several Klaxons asks them what they show."""
        self._watch.use(peers if self._loaded.config.instance is not None else ())

    def _adopt_cluster(self, name: str, old: ClusterConfig | None, new: ClusterConfig | None) -> None:
        """What needs no other connections is changed in place, so that no series ends."""
        if old is None or new is None or not same_connections(old, new):
            if old is not None:
                self._drop_cluster(name)
            if new is not None:
                self._add_cluster(name, new)
                self._start(name, self._runners[name])
            return
        if new.metrics != old.metrics:
            self._lines[name].use_detail(new.metrics)
        if (new.collectors, new.jmx) != (old.collectors, old.jmx):
            self._runners[name].use(new, new.jmx_transport(self._jmx))

    def _add_cluster(self, name: str, config: ClusterConfig) -> None:
        line = Line(name, self._page, self._history, self._loaded.config.thresholds, config.metrics)
        reader = Reader(name, config.bootstrap_servers, config.security, clock=self._clock)
        runner = Runner(config, reader, config.jmx_transport(self._jmx), self._clock, line.take, self._book)
        self._lines, self._readers, self._runners = (
            {**self._lines, name: line},
            {**self._readers, name: reader},
            {**self._runners, name: runner},
        )

    def _drop_cluster(self, name: str) -> None:
        runner, reader, line = self._runners.get(name), self._readers.get(name), self._lines.get(name)
        if runner is None or reader is None or line is None:
            return
        runner.stop()
        reader.close()
        line.close()
        self._lines = {n: v for n, v in self._lines.items() if n != name}
        self._readers = {n: v for n, v in self._readers.items() if n != name}
        self._runners = {n: v for n, v in self._runners.items() if n != name}


class QuietBook:
    """The book as the desk wants it: it never raises; its failures are told once and counted."""

    def __init__(self, book: Book, observed: Observed) -> None:
        self._book = book
        self._observed = observed

    def load_incidents(self) -> Sequence[Incident]:
        return self._book.load_incidents()

    def save_incidents(self, incidents: Sequence[Incident]) -> None:
        try:
            self._book.save_incidents(incidents)
        except BookError as error:
            self._observed.book_failed(error)

    def record_sent(self, incident: str, peer: str, what: str, at: float) -> None:
        try:
            self._book.record_sent(incident, peer, what, at)
        except BookError as error:
            self._observed.book_failed(error)

    def sent_to(self, peer: str) -> Sequence[tuple[str, str]]:
        return self._book.sent_to(peer)


def ask_to_forget(book: Book, cluster: str, node: int) -> bool:
    """Write into the book that a node will not come back; a running daemon drops it within seconds. False when the book does not know it."""
    known = any(n.id == node for n in book.load_nodes(cluster))
    waiting = json.loads(book.get(_forget_key(cluster)) or "[]")
    book.set(_forget_key(cluster), json.dumps(sorted({*waiting, node})))
    book.forget_node(cluster, node)
    return known


def take_forgotten(book: Book, cluster: str) -> Sequence[int]:
    """Nodes that were asked to be forgotten since the last call."""
    waiting: list[int] = json.loads(book.get(_forget_key(cluster)) or "[]")
    if waiting:
        book.set(_forget_key(cluster), "[]")
    return waiting


def _forget_key(cluster: str) -> str:
    return f"forget/{cluster}"


def requirements(loaded: Loaded) -> dict[str, float]:
    """Metric -> seconds that History keeps: what rules and trees ask, families without a partition label for six hours, and history.keep."""
    wanted = loaded.rules.history_requirements()
    trees = retention(loaded.trees.expressions)
    kept: dict[str, float] = {}
    for name in {*(row.name for row in ALERTS_ROWS), *wanted, *trees, *loaded.config.history.keep}:
        row = complete().get(name)
        coarse = COARSE_S if row is not None and "partition" not in row.labels else 0.0
        kept[name] = max(wanted.get(name, 0.0), trees.get(name, 0.0), loaded.config.history.keep.get(name, 0.0), coarse)
    return kept


def diagnose(
    loaded: Loaded,
    clusters: Sequence[str],
    world: Callable[[str, float], World],
    now: float,
    cluster: str | None,
    tree: str | None,
    names: Mapping[str, str],
) -> Sequence[tuple[Finding, str]]:
    """Walk one tree, or all that need no more than ``names`` (broker -> 2 and the like), on one cluster or all. Raises LookupError with what there is."""
    if cluster is not None and cluster not in clusters:
        raise LookupError(f"there is no cluster {cluster!r}; configured: {', '.join(clusters)}")
    known = loaded.trees.by_name
    if tree is not None and tree not in known:
        raise LookupError(f"there is no tree {tree!r}; there are: {', '.join(sorted(known))}")
    bound = {"cluster", *names}
    if tree is not None and (missing := [n for n in known[tree].file.given if n not in bound]):
        needed = " ".join(f"--set {name}=…" for name in missing)
        raise LookupError(f"the tree {tree} asks about one {' and '.join(missing)}; name it by {needed}")
    chosen = [known[tree]] if tree is not None else [t for _, t in sorted(known.items()) if set(t.file.given) <= bound]
    findings: list[tuple[Finding, str]] = []
    for name in [cluster] if cluster is not None else clusters:
        seen = world(name, now)
        for one in chosen:
            case = Case(one.file.title, "cluster", {**names, "cluster": name})
            findings += [(f, text.page(_as_incident(f, now), now)) for f in walk(loaded.trees, one, case, seen)]
    return findings


def _as_incident(finding: Finding, now: float) -> Incident:
    """A finding without an alert, to be read like an incident."""
    severity = finding.severity or Severity.INFO
    return Incident("", finding.cluster, finding.problem, finding.subject, severity, now, (), finding, finding.says)


def _needs_restart(old: Config, new: Config) -> list[str]:
    return [key for key in ("web", "data_dir", "log", "instance") if getattr(old, key) != getattr(new, key)]


def _shown_host(host: str) -> str:
    """Something a person on this machine can open."""
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _state(line: Line, incidents: Iterable[Incident]) -> ClusterView:
    """One cluster in words, worst first; without trusted facts it is unknown, never well."""
    own = [i for i in incidents if i.cluster == line.cluster and i.closed_at is None]
    worst = max((i.severity for i in own), key=lambda s: s.rank, default=None)
    snapshot = line.snapshot
    if snapshot is None:
        return ClusterView(line.cluster, "unknown", "not polled yet", ())
    facts = _facts(snapshot)
    if worst in (Severity.CRITICAL, Severity.WARNING):
        said = f"{len(own)} open incident{'' if len(own) == 1 else 's'}, the worst is {worst}"
        return ClusterView(line.cluster, str(worst), said, facts)
    dark = sorted(
        name
        for name, expected in snapshot.coverage.expected.items()
        if not expected <= snapshot.coverage.taken_at.get(name, {}).keys()
    )
    if dark:
        return ClusterView(
            line.cluster, "unknown", f"no data, or none that can be trusted, from: {', '.join(dark)}", facts
        )
    return ClusterView(line.cluster, "ok", "no incident is open", facts)


def _facts(snapshot: Snapshot) -> list[str]:
    cluster, health = snapshot.cluster_facts.value(snapshot.at), snapshot.derived.health
    facts = []
    if cluster is not None and cluster.nodes and "cluster" not in snapshot.derived.withdrawn:
        up = sum(n.registered and not n.fenced for n in cluster.brokers)
        facts.append(f"{up} of {len(cluster.brokers)} brokers are registered and unfenced")
    if health is not None and "topics" not in snapshot.derived.withdrawn:
        missing, leaderless = int(health.under_replicated.sum()), int(health.leaderless.sum())
        facts.append(f"{len(health.table)} partitions: {missing} under-replicated, {leaderless} without a leader")
    if snapshot.derived.withdrawn:
        facts.append(snapshot.derived.trust.reason)
    return facts
