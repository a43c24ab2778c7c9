"""The shipped trees on every observed fault: cause, subject, problem and severity; and what missing or old data does to them."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace

import pytest

from alerts.diagnosis.tree import Trees, load
from alerts.diagnosis.walk import diagnose
from alerts.model import Alert, Confidence, Finding, Severity, Verdict
from exporter.reading import Coverage
from tests.alerts.diagnosis import scenes
from tests.alerts.diagnosis.scenes import GIB, NOW, Scene, alert, broker_down

TREES: Trees = load()


def one(scene: Scene, of: Alert) -> Finding:
    (finding,) = diagnose(TREES, of, scene.world())
    return finding


@dataclass(frozen=True)
class Case:
    scene: Scene
    alert: Alert
    cause: str
    problem: str
    subject: str
    severity: Severity | None = None
    confidence: Confidence = Confidence.HIGH


DOWN = broker_down()
STOPPED = broker_down(rule="KafkaBrokerStopped")
UNDER = alert("KafkaUnderReplicated", problem="KafkaUnderReplicated")
BEHIND = alert("KafkaReplicasBehind", problem="KafkaUnderReplicated")
MIN_ISR = alert("KafkaUnderMinIsr", problem="KafkaUnderMinIsr", severity="critical")
LEADERLESS = alert("KafkaLeaderless", problem="KafkaLeaderless", severity="critical")
NO_CONTROLLER = alert("KafkaNoController", problem="KafkaNoController", severity="critical", tree="quorum")
ALL_DOWN = alert("KafkaAllBrokersUnavailable", problem="KafkaAllBrokersUnavailable", severity="critical", tree="quorum")
DIR = alert("KafkaLogDirFailed", problem="KafkaLogDirFailed", subject="broker/2", broker=2, dir="/d2")
GROUP = alert("KafkaGroupStopped", problem="KafkaGroupStopped", subject="group/billing", consumergroup="billing")
LAGGING = alert("KafkaGroupBehind", problem="KafkaGroupBehind", subject="group/billing", consumergroup="billing")

BROKER = ("KafkaBrokerUnavailable", "broker/2")
CLUSTER = ("KafkaNoController", "cluster")
LOW = Confidence.LOW
CRITICAL = Severity.CRITICAL


def case(
    scene: Scene,
    of: Alert,
    cause: str,
    where: tuple[str, str],
    severity: Severity | None = None,
    confidence: Confidence = Confidence.HIGH,
) -> Case:
    return Case(scene, of, cause, *where, severity, confidence)


CASES = {
    "1 kill -9": case(scenes.killed(), DOWN, "broker-process-dead", BROKER),
    "1 kill -9, seen from the missing copies": case(scenes.killed(), UNDER, "broker-process-dead", BROKER),
    "1 kill -9 on Kafka 3.9, which does not tell": case(
        scenes.gone(scenes.healthy(), 2, controlled=None), STOPPED, "broker-process-dead", BROKER, None, LOW
    ),
    "2 SIGSTOP": case(scenes.hung(), DOWN, "broker-hung", BROKER),
    "2 SIGSTOP, backlog full": case(scenes.hung_long(), DOWN, "broker-hung", BROKER),
    "3 clean stop that lasts": case(scenes.stopped(), STOPPED, "stopped-on-purpose", BROKER),
    "host off or cut off": case(scenes.unreachable(), DOWN, "host-unreachable", BROKER),
    "starting, recovers its logs": case(scenes.recovering(), DOWN, "broker-starting", BROKER),
    "answers but fenced": case(scenes.fenced(), DOWN, "broker-fenced", BROKER),
    "7b metadata dir full": case(scenes.disk_full_exit(), DOWN, "broker-disk-full", BROKER),
    "14 out of memory": case(scenes.zombie(), DOWN, "broker-out-of-memory", BROKER),
    "alive but does not answer": case(scenes.stuck(), DOWN, "broker-stuck", BROKER),
    "5 two of three killed": case(scenes.quorum_lost(), NO_CONTROLLER, "quorum-lost", CLUSTER, CRITICAL),
    "all killed": case(
        scenes.all_down(), ALL_DOWN, "all-brokers-down", ("KafkaAllBrokersUnavailable", "cluster"), CRITICAL
    ),
    "Klaxon cut off": case(
        scenes.cut_off(), ALL_DOWN, "cluster-unreachable", ("KafkaAllBrokersUnavailable", "cluster"), CRITICAL
    ),
    "4b hung controller, no other elected": case(scenes.controller_hung(), NO_CONTROLLER, "controller-hung", CLUSTER, CRITICAL),
    "6 log dir broken": case(scenes.dir_failed(), DIR, "log-dir-failed", ("KafkaLogDirFailed", "broker/2")),
    "6 log dir broken, seen from the missing copies": case(
        scenes.dir_failed(), BEHIND, "log-dir-failed", ("KafkaLogDirFailed", "broker/2")
    ),
    "6 log dir broken before Klaxon saw it": case(
        scenes.dir_failed(sampled=False), DIR, "log-dir-failed", ("KafkaLogDirFailed", "broker/2"), None, LOW
    ),
    "7 log dir full": case(
        scenes.dir_failed(free=0.001 * GIB), DIR, "log-dir-full", ("KafkaLogDirFailed", "broker/2")
    ),
    "8 RF 1": case(scenes.single_copy(), LEADERLESS, "broker-process-dead", BROKER, CRITICAL),
    "8 RF 1, seen from the broker": case(scenes.single_copy(), DOWN, "broker-process-dead", BROKER, CRITICAL),
    "9 min ISR = RF": case(scenes.needs_all_copies(), MIN_ISR, "broker-process-dead", BROKER, CRITICAL),
    "9 min ISR = RF, clean stop": case(
        scenes.needs_all_copies(controlled=True), replace(MIN_ISR, labels={**MIN_ISR.labels, "severity": "warning"}), "stopped-on-purpose", BROKER
    ),
    "12 throttle left": case(scenes.behind(), BEHIND, "replicas-behind", ("KafkaUnderReplicated", "broker/2")),
    "12 catching up": case(scenes.catching_up(), BEHIND, "replicas-catching-up", ("KafkaUnderReplicated", "broker/2")),
    "17 reassignment": case(scenes.behind(moving=True), BEHIND, "replicas-moving", ("KafkaUnderReplicated", "broker/2")),
    "10 nobody consumes": case(scenes.group(state="Empty"), GROUP, "group-empty", ("KafkaGroupStopped", "group/billing")),
    "10 rebalances": case(
        scenes.group(state="PreparingRebalance"), GROUP, "group-rebalancing", ("KafkaGroupStopped", "group/billing")
    ),
    "10 alive but not polling": case(scenes.group(), GROUP, "group-stalled", ("KafkaGroupStopped", "group/billing")),
    "10 one partition stuck": case(
        scenes.group(stands=[4]), GROUP, "group-stuck-partitions", ("KafkaGroupStopped", "group/billing")
    ),
    "too slow": case(scenes.group(stands=[]), LAGGING, "group-slow", ("KafkaGroupBehind", "group/billing")),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_names_the_cause_of_every_observed_fault(name: str) -> None:
    c = CASES[name]
    finding = one(c.scene, c.alert)
    assert (
        finding.cause,
        finding.problem,
        finding.subject,
        finding.severity,
        finding.confidence,
        finding.complete,
    ) == ((c.cause, c.problem, c.subject, c.severity, c.confidence, True)), finding


@pytest.mark.parametrize("name", CASES)
def test_page_of_a_cause_has_numbers_and_commands_with_real_names(name: str) -> None:
    c = CASES[name]
    finding = one(c.scene, c.alert)
    assert finding.says and finding.impact and finding.headline and finding.do
    shown = [finding.says, finding.headline, *(e.answer for e in finding.evidence), *(a.command for a in finding.do)]
    assert not [t for t in shown if "no data" in t or "$" in t]


def test_healed_faults_say_so() -> None:
    for of in (DOWN, UNDER, NO_CONTROLLER, DIR, LEADERLESS):
        assert one(scenes.healthy(), of).cause == "already-healed"


# --- unknown and not yet


def cuts(scene: Scene) -> list[Coverage]:
    """The coverage without one collector, or one source of it, at a time."""
    whole = scene.coverage()
    found = []
    for collector, sources in whole.taken_at.items():
        for source in sources:
            left = {s: t for s, t in sources.items() if s != source}
            found.append(replace(whole, taken_at={**whole.taken_at, collector: left}))
    return found


@pytest.mark.parametrize("name", CASES)
def test_missing_data_never_gives_another_sure_cause(name: str) -> None:
    c = CASES[name]
    for coverage in cuts(c.scene):
        world = c.scene.world()
        world.coverage = coverage
        for finding in diagnose(TREES, c.alert, world):
            assert finding.cause == c.cause or finding.confidence is Confidence.LOW


def test_old_data_is_not_yet_an_answer() -> None:
    (finding,) = diagnose(TREES, replace(DOWN, active_at=NOW - 1), scenes.killed().world(age=2))
    assert not finding.complete
    assert finding.confidence is Confidence.LOW
    assert {e.verdict for e in finding.evidence} >= {Verdict.NOT_YET}


def test_unknown_step_says_what_to_run_by_hand() -> None:
    scene = scenes.dir_failed()
    scene.silence("log_dirs", 2)
    finding = one(scene, DIR)
    assert finding.cause == "unknown"
    assert (finding.problem, finding.subject) == ("KafkaLogDirFailed", "broker/2")
    assert "log dirs of broker 2" in finding.unknowns[0]
    assert (
        "kafka-log-dirs.sh --bootstrap-server kafka-1:9092,kafka-2:9092 --describe --broker-list 2"
        in finding.unknowns[0]
    )


def test_what_the_cluster_cannot_give_is_said_to_be_not_supported() -> None:
    world = scenes.dir_failed().world()
    cover = world.coverage
    assert cover is not None
    without = {name: sources for name, sources in cover.taken_at.items() if name != "log_dirs"}
    world.coverage = replace(cover, taken_at=without, unsupported=frozenset({"log_dirs"}))
    (finding,) = diagnose(TREES, DIR, world)
    assert finding.confidence is Confidence.LOW
    assert "Not supported: this cluster does not give log dirs" in finding.unknowns[0]


def test_numbers_without_data_are_said_to_be_missing() -> None:
    scene = scenes.killed()
    scene.withdrawn.add("topics")
    for name in ("kafka_broker_replicas_missing", "kafka_broker_replicas", "kafka_partitions_at_min_isr"):
        scene.ends(name)
    finding = one(scene, DOWN)
    assert finding.cause == "broker-process-dead"
    assert "Not known (no data): partitions without a leader." in finding.impact
    assert "No partition" not in finding.impact
    assert finding.headline == "broker 2 down"


def test_one_walk_per_broker() -> None:
    scene = scenes.gone(scenes.killed(), 3)
    findings = diagnose(TREES, UNDER, scene.world())
    assert {(f.subject, f.cause) for f in findings} == {
        ("broker/2", "broker-process-dead"),
        ("broker/3", "broker-process-dead"),
    }


def test_refuted_branches_keep_the_number_that_refuted_them() -> None:
    finding = one(scenes.killed(), DOWN)
    assert "disk full (38 % free in its last sample)" in finding.refuted
    assert any(r.startswith("hung or paused") for r in finding.refuted)


def test_names_from_the_cluster_cannot_become_shell() -> None:
    evil = "a; rm -rf $(x) '"
    scene = scenes.group()
    for store in (scene.before, scene.after, scene.steps):
        for k in [k for k in store if dict(k).get("consumergroup") == "billing"]:
            renamed = tuple(sorted({**dict(k), "consumergroup": evil}.items()))
            store[renamed] = store.pop(k)  # type: ignore[attr-defined, index]
    of = alert("KafkaGroupStopped", problem="KafkaGroupStopped", subject=f"group/{evil}", consumergroup=evil)
    finding = one(scene, of)
    assert finding.cause == "group-stalled"
    for action in finding.do:
        assert evil in shlex.split(action.command)
