"""Against a real Alertmanager with the shipped configuration: how often people are told, whatever Klaxon and Alertmanager do."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from alerts.diagnosis.postings import Posting
from alerts.notify.config import AlertmanagerPeer
from alerts.notify.delivery import Delivery
from tests.alertmanager import NO_BINARY, SHIPPED_CONFIG, CountingWebhook, RealAlertmanager, binary, wait_until

pytestmark = [pytest.mark.prometheus, pytest.mark.skipif(binary() is None, reason=NO_BINARY)]


def posting(subject: str = "broker/2", severity: str = "warning", problem: str = "KafkaBrokerUnavailable") -> Posting:
    labels = {"alertname": problem, "cluster": "orders", "subject": subject, "severity": severity}
    return Posting(labels, {"summary": "orders: broker 2 down"}, time.time() - 5)


@pytest.fixture
def webhook() -> Iterator[CountingWebhook]:
    with CountingWebhook() as hook:
        yield hook


@pytest.fixture
def alertmanager(tmp_path: Path, webhook: CountingWebhook) -> Iterator[RealAlertmanager]:
    def quick(config: dict[str, object]) -> None:
        route = config["route"]
        assert isinstance(route, dict)
        route["group_interval"] = "1s"

    with RealAlertmanager(tmp_path, webhook, quick) as one:
        yield one


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def outbox(alertmanager: RealAlertmanager, registry: CollectorRegistry) -> Iterator[Delivery]:
    box = Delivery(registry, time.time)
    box.use([AlertmanagerPeer(url=alertmanager.url)])
    box.start()
    yield box
    box.stop()


def taken(outbox: Delivery) -> None:
    wait_until("all alerts are taken", lambda: not any(outbox.pending().values()))


def after_a_flush(webhook: CountingWebhook, outbox: Delivery) -> None:
    """Something sent later has come through, so what was due before has, too."""
    mark = posting(subject=f"topic/mark-{len(webhook.notifications)}-{time.time()}", problem="Mark")
    before = time.time()
    outbox.post([mark])
    wait_until("the mark is told", lambda: any(n.of("Mark") and n.at > before for n in webhook.notifications))
    wait_until("a second has passed", lambda: time.time() > before + 2.5)


def told(webhook: CountingWebhook) -> list[tuple[str, str]]:
    return [(n.receiver, n.status) for n in webhook.pages() if not n.of("Mark")]


def test_told_once_at_opening_again_at_critical_and_at_the_end(
    webhook: CountingWebhook, outbox: Delivery, alertmanager: RealAlertmanager
) -> None:
    warning = posting()
    outbox.post([warning])
    wait_until("told of the opening", lambda: told(webhook) == [("tickets", "firing")])
    for _ in range(3):
        outbox.post([replace(warning, annotations={"summary": "refined"})])
        taken(outbox)
    after_a_flush(webhook, outbox)
    assert told(webhook) == [("tickets", "firing")]

    critical = replace(posting(severity="critical"), starts_at=time.time())
    outbox.post([warning, critical])
    wait_until("told of the rise", lambda: ("pager", "firing") in told(webhook))
    after_a_flush(webhook, outbox)
    assert told(webhook) == [("tickets", "firing"), ("pager", "firing")]
    inhibited = [a for a in alertmanager.alerts() if a["status"]["inhibitedBy"]]
    assert [a["labels"]["severity"] for a in inhibited] == ["warning"]

    end = time.time()
    outbox.post([replace(warning, resolved_at=end), replace(critical, resolved_at=end)])
    wait_until("told of both ends", lambda: len([t for t in told(webhook) if t[1] == "resolved"]) == 2)
    outbox.post([replace(warning, resolved_at=end), replace(critical, resolved_at=end)])
    after_a_flush(webhook, outbox)
    assert sorted(told(webhook)[2:]) == [("pager", "resolved"), ("tickets", "resolved")]


def test_lost_quorum_inhibits_single_brokers(
    webhook: CountingWebhook, outbox: Delivery, alertmanager: RealAlertmanager
) -> None:
    outbox.post([posting(subject="cluster", severity="critical", problem="KafkaNoController")])
    wait_until("told of the cluster", lambda: told(webhook) == [("pager", "firing")])
    outbox.post([posting()])
    after_a_flush(webhook, outbox)
    assert told(webhook) == [("pager", "firing")]
    assert [a["labels"]["subject"] for a in alertmanager.alerts() if a["status"]["inhibitedBy"]] == ["broker/2"]


def test_nothing_is_lost_while_a_peer_is_away(
    webhook: CountingWebhook, outbox: Delivery, alertmanager: RealAlertmanager, registry: CollectorRegistry
) -> None:
    first, second = posting(), posting(subject="broker/3")
    outbox.post([first])
    wait_until("told of the first", lambda: len(told(webhook)) == 1)
    alertmanager.stop()
    outbox.post([replace(first, resolved_at=time.time()), second])
    up = lambda: registry.get_sample_value("klaxon_notify_up", {"peer": alertmanager.url[7:]})  # noqa: E731
    wait_until("the peer is seen to be away", lambda: up() == 0)
    alertmanager.start()
    wait_until("told of both", lambda: len(told(webhook)) == 3)
    assert sorted(s for _, s in told(webhook)) == ["firing", "firing", "resolved"]
    wait_until("the peer is seen to be back", lambda: up() == 1)


def test_alerts_come_back_after_alertmanager_restarted_without_a_second_notification(
    webhook: CountingWebhook, outbox: Delivery, alertmanager: RealAlertmanager
) -> None:
    outbox.post([posting()])
    wait_until("told", lambda: len(told(webhook)) == 1)
    alertmanager.stop()
    alertmanager.start()
    outbox.post([posting()])
    wait_until("it is firing again", lambda: len(alertmanager.alerts()) == 1)
    after_a_flush(webhook, outbox)
    assert told(webhook) == [("tickets", "firing")]


def test_one_bad_alert_costs_no_other(
    webhook: CountingWebhook, outbox: Delivery, alertmanager: RealAlertmanager, registry: CollectorRegistry
) -> None:
    bad = replace(posting(), labels={"alertname": "Bad", "not a label": "x"})
    good = [posting(subject=f"broker/{i}") for i in range(10)]
    outbox.post([*good[:4], bad, *good[4:]])
    taken(outbox)
    assert len(alertmanager.alerts()) == 10
    dropped = registry.get_sample_value("klaxon_notifications_dropped_total", {"peer": alertmanager.url[7:]})
    assert dropped == 1
    wait_until("all told", lambda: len([t for t in told(webhook) if t[1] == "firing"]) == 10)


def test_shipped_configuration_is_good() -> None:
    amtool = shutil.which("amtool")
    if amtool is None:
        pytest.skip("no amtool on the path")
    checked = subprocess.run([amtool, "check-config", str(SHIPPED_CONFIG)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
