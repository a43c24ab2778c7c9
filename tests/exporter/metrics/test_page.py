"""The page is what was published last, whole, each family once, and a scrape only joins what lies ready."""

from __future__ import annotations

import gzip
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, Gauge, ProcessCollector
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from exporter.blocks import NO_LABELS, Block, LabelSets
from exporter.metrics import page as page_module
from exporter.metrics.catalogue import complete
from exporter.metrics.negotiation import Format
from exporter.metrics.page import EVERYTHING, NO_BROKER, Page, Scope
from exporter.metrics.writer import Writer, WriterError

GOLDEN = Path(__file__).parent / "page.golden.txt"

BROKERS = LabelSets(("broker",), [("1",), ("2",)])
PARTITIONS = LabelSets(("topic", "partition"), [(f"orders-{i // 12}", str(i % 12)) for i in range(3_000)])


def up(*values: int) -> Block:
    return Block("kafka_broker_up", BROKERS, np.array(values))


def offsets(number: int) -> Block:
    return Block("kafka_topic_partition_current_offset", PARTITIONS, np.full(len(PARTITIONS), number))


def text(page: Page, cluster: str | None = None, broker: str | None = None, accept: str = "") -> str:
    headers, chunks = page.render("", Scope(cluster, broker), accept)
    assert "content-encoding" not in headers
    return b"".join(chunks).decode()


def unpacked(page: Page, cluster: str | None = None, broker: str | None = None, accept: str = "") -> str:
    headers, chunks = page.render("gzip, deflate", Scope(cluster, broker), accept)
    assert headers["content-encoding"] == "gzip"
    return gzip.decompress(b"".join(chunks)).decode()


def registry() -> CollectorRegistry:
    made = CollectorRegistry()
    Gauge("klaxon_alerts", "Alerts by state.", ["state"], registry=made).labels("firing").set(2)
    return made


def two_clusters() -> Page:
    page = Page(complete(), registry())
    groups = LabelSets(("consumergroup", "topic"), [("billing", "orders"), ('a "quoted"\\\n%d', "orders")])
    dirs = LabelSets(("broker", "dir"), [("1", "/data/a")])
    page.publish(
        "west",
        {
            "cluster": [up(1, 1), Block("kafka_brokers", NO_LABELS, np.array([2]))],
            "groups": [
                Block("kafka_consumergroup_lag_sum", groups, np.array([12_345_678, 0])),
                Block("kafka_consumergroup_lag_sum", LabelSets(groups.names, [("late", "orders")]), np.array([7])),
            ],
        },
    )
    page.publish(
        "east",
        {
            "cluster": [up(0, 1), Block("kafka_brokers", NO_LABELS, np.array([1]))],
            "log_dirs": [
                Block("kafka_log_dir_total_bytes", dirs, np.array([1.5e12])),
                Block("kafka_log_dir_usable_bytes", LabelSets(dirs.names, []), np.array([], dtype=np.float64)),
            ],
            "jmx": [
                Block("kafka_server_replicamanager_underreplicatedpartitions", BROKERS, np.array([0.0, float("nan")]))
            ],
        },
    )
    return page


def test_the_page_is_the_golden_one() -> None:
    assert text(two_clusters()) == GOLDEN.read_text(encoding="utf-8")


def test_gzip_and_plain_are_the_same_page() -> None:
    page = two_clusters()
    page.publish("south", {"offsets": [offsets(5)]})
    assert unpacked(page) == text(page)
    assert unpacked(page, "south") == text(page, "south")
    first = zlib.decompressobj(16 + zlib.MAX_WBITS)
    first.decompress(b"".join(page.render("gzip")[1]))
    assert first.eof and not first.unused_data, "many clients read the first member only"


def test_a_parser_reads_back_every_sample() -> None:
    page = two_clusters()
    samples = [
        (s.name, s.labels["cluster"], s.labels.get("broker"), s.labels.get("consumergroup"), s.value)
        for family in text_string_to_metric_families(text(page))
        for s in family.samples
        if "cluster" in s.labels
    ]
    assert ("kafka_consumergroup_lag_sum", "west", None, 'a "quoted"\\\n%d', 0.0) in samples
    assert len(samples) == len(set(samples)) == 12


def test_one_cluster_alone_comes_without_the_process_and_no_cluster_is_an_empty_page() -> None:
    page = two_clusters()
    alone = text(page, "east")
    assert 'cluster="east"' in alone and "west" not in alone and "klaxon_alerts" not in alone
    assert text(page, "north") == ""
    assert unpacked(page, "north") == ""
    assert unpacked(Page(complete())) == ""


def test_a_publish_replaces_everything_of_its_cluster_and_nothing_of_others() -> None:
    page = two_clusters()
    page.publish("west", {"cluster": [up(0, 0)]})
    now = text(page)
    assert 'kafka_broker_up{broker="1",cluster="west"} 0.0' in now
    assert "kafka_consumergroup_lag_sum" not in now
    assert 'kafka_brokers{cluster="east"} 1.0' in now
    assert 'kafka_brokers{cluster="west"}' not in now
    page.publish("west", {})
    assert "west" not in text(page) == unpacked(page)
    page.publish("west", {"cluster": [up(1, 0)]})
    assert 'cluster="west"' in unpacked(page, "west")


def lines(page: str) -> list[str]:
    return sorted(line for line in page.splitlines() if not line.startswith("#"))


def test_the_pages_of_every_broker_and_of_none_are_together_the_page_of_their_cluster() -> None:
    page = two_clusters()
    for cluster in ("east", "west"):
        parts = [text(page, cluster, broker) for broker in ("1", "2", NO_BROKER)]
        assert lines("".join(parts)) == lines(text(page, cluster))
        assert all(parts)
    assert 'kafka_broker_up{broker="2",cluster="east"} 1.0' in text(page, "east", "2")
    assert 'broker="1"' not in text(page, "east", "2") and "kafka_brokers" not in text(page, "east", "2")
    assert lines(text(page, None, "2")) == lines(text(page, "east", "2") + text(page, "west", "2"))
    assert text(page, "west", "7") == unpacked(page, "west", "7") == ""


def test_what_did_not_change_is_rendered_once_for_a_broker(rendered: list[str]) -> None:
    page = Page(complete())
    for number in range(3):
        page.publish("c", {"cluster": [up(1, 1), Block("kafka_brokers", NO_LABELS, np.array([number]))]})
        assert 'kafka_broker_up{broker="2",cluster="c"} 1.0' in unpacked(page, "c", "2")
    assert rendered.count("kafka_broker_up") == 2
    page.publish("c", {"cluster": [up(1, 0)]})
    assert 'kafka_broker_up{broker="2",cluster="c"} 0.0' in unpacked(page, "c", "2")


OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"


@pytest.mark.parametrize("scope", [EVERYTHING, Scope("east"), Scope("west", "1"), Scope(None, NO_BROKER)])
def test_openmetrics_has_the_same_samples_and_an_end(scope: Scope) -> None:
    page = two_clusters()
    headers, chunks = page.render("", scope, OPENMETRICS)
    said = b"".join(chunks).decode()
    assert headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert said == unpacked(page, scope.cluster, scope.broker, OPENMETRICS)
    assert said.endswith("# EOF\n") and said.count("# EOF") == 1
    assert lines(said) == lines(text(page, scope.cluster, scope.broker))
    assert list(openmetrics.text_string_to_metric_families(said))


def test_the_process_alone() -> None:
    page = two_clusters()
    for accept, format in (("", Format.TEXT), (OPENMETRICS, Format.OPENMETRICS)):
        headers, chunks = page.render_own("", accept)
        assert headers["content-type"] == format
        assert lines(b"".join(chunks).decode()) == ['klaxon_alerts{state="firing"} 2.0']
    assert b"".join(Page(complete()).render_own("", OPENMETRICS)[1]) == b"# EOF\n"


def test_a_page_with_every_family_is_good_openmetrics() -> None:
    page = Page(complete())
    families = [
        Block(row.name, LabelSets(row.labels, [("1",) * len(row.labels)]), np.array([1]))
        for row in complete().values()
        if row.cluster
    ]
    page.publish("c", {"all": families})
    read = {family.name for family in openmetrics.text_string_to_metric_families(text(page, accept=OPENMETRICS))}
    assert len(read) == len(families)


def test_headers() -> None:
    headers, _ = two_clusters().render("gzip")
    assert headers == {
        "content-type": "text/plain; version=0.0.4; charset=utf-8",
        "vary": "accept, accept-encoding",
        "content-encoding": "gzip",
    }


@pytest.mark.parametrize(
    ("block", "said"),
    [
        (Block("kafka_nonsense", NO_LABELS, np.array([1])), "kafka_nonsense: is not in the catalogue"),
        (Block("klaxon_alerts", NO_LABELS, np.array([1])), "klaxon_alerts: is about the process"),
        (Block("kafka_broker_up", NO_LABELS, np.array([1])), r"kafka_broker_up: has labels \(\)"),
        (Block("kafka_brokers", NO_LABELS, np.array([1], dtype=np.int32)), "values of type int32"),  # type: ignore[arg-type]
    ],
)
def test_what_does_not_fit_the_catalogue_changes_nothing(block: Block, said: str) -> None:
    page = two_clusters()
    before = text(page)
    with pytest.raises(WriterError, match=said):
        page.publish("west", {"cluster": [up(0, 0), block]})
    assert text(page) == before


def test_the_registry_must_not_have_families_of_clusters() -> None:
    own = CollectorRegistry()
    ProcessCollector(registry=own)
    with pytest.raises(WriterError, match="process_start_time_seconds: is a family of clusters"):
        Page(complete(), own)


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The metrics that were rendered."""
    metrics: list[str] = []
    plain = Writer.render

    def counting(self, row, cluster, block):  # type: ignore[no-untyped-def]
        metrics.append(block.metric)
        return plain(self, row, cluster, block)

    monkeypatch.setattr(Writer, "render", counting)
    return metrics


def test_what_did_not_change_is_not_rendered_again(rendered: list[str]) -> None:
    page = Page(complete())
    page.publish("c", {"cluster": [up(1, 1)], "offsets": [offsets(5)]})
    rendered.clear()
    page.publish("c", {"cluster": [up(1, 1)], "offsets": [offsets(6)]})
    assert rendered == ["kafka_topic_partition_current_offset"]
    page.publish("c", {"cluster": [up(1, 0)], "offsets": [offsets(6)]})
    assert rendered[1:] == ["kafka_broker_up"]
    assert 'broker="2",cluster="c"} 0.0' in text(page)
    others = LabelSets(("broker",), [("1",), ("3",)])
    page.publish("c", {"cluster": [Block("kafka_broker_up", others, np.array([1, 0]))]})
    assert 'broker="3",cluster="c"} 0.0' in text(page)


def test_what_did_not_change_is_not_compressed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    packed: list[bytes] = []
    plain = page_module.pack

    def counting(text: bytes) -> bytes:
        packed.append(text)
        return plain(text)

    monkeypatch.setattr(page_module, "pack", counting)
    page = Page(complete())
    page.publish("c", {"cluster": [up(1, 1)], "offsets": [offsets(5)]})
    assert len(packed) == 2
    page.publish("c", {"cluster": [up(1, 1)], "offsets": [offsets(6)]})
    unpacked(page)
    assert len(packed) == 3
    page.publish("c", {"cluster": [up(1, 0)], "offsets": [offsets(6)]})
    unpacked(page)
    assert len(packed) == 4


def test_zero_and_minus_zero_differ() -> None:
    page = Page(complete())
    for value in (0.0, -0.0):
        page.publish("c", {"cluster": [Block("kafka_brokers", NO_LABELS, np.array([value]))]})
    assert 'kafka_brokers{cluster="c"} -0.0' in text(page)


def test_a_scrape_during_publishes_sees_one_state() -> None:
    page = Page(complete(), registry())
    faults: list[str] = []
    done = threading.Event()

    def scrape(accept: str, cluster: str | None) -> None:
        while not done.is_set():
            _, chunks = page.render(accept, Scope(cluster))
            body = b"".join(chunks)
            lines = (gzip.decompress(body) if accept else body).decode().splitlines()
            values = {line.rsplit(" ", 1)[1] for line in lines if 'cluster="c"' in line}
            if len(values) > 1:
                faults.append(f"{values} on one page")
            if len([line for line in lines if line.startswith("# TYPE kafka_broker_up ")]) > 1:
                faults.append("a family stands twice")

    scrapers = [threading.Thread(target=scrape, args=args) for args in (("gzip", None), ("", "c"), ("gzip", "c"))]
    for scraper in scrapers:
        scraper.start()
    for number in range(60):
        page.publish("c", {"offsets": [offsets(number)], "cluster": [up(number, number)]})
        page.publish("d", {"cluster": [up(0, number)]})
    done.set()
    for scraper in scrapers:
        scraper.join()
    assert faults == []
    assert text(page, "c").count(" 59.0\n") == 3_002
