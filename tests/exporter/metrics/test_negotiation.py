"""What scrapers ask for is what they get, and text 0.0.4 where they ask for anything else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.metrics.negotiation import Format, gzip_accepted, negotiated

PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
PROMETHEUS_2 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
PROTOBUF_FIRST = (
    f"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,{PROMETHEUS_3}"
)
TEXT_FIRST = "text/plain;version=0.0.4;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1"


@pytest.mark.parametrize(
    ("accept", "format"),
    [
        (PROMETHEUS_3, Format.OPENMETRICS),
        (PROMETHEUS_2, Format.OPENMETRICS),
        (PROTOBUF_FIRST, Format.OPENMETRICS),
        (TEXT_FIRST, Format.TEXT),
        ("Application/OpenMetrics-Text; Version=\"1.0.0\"; charset=utf-8", Format.OPENMETRICS),
        ("application/openmetrics-text", Format.OPENMETRICS),
        ("application/openmetrics-text;version=0.0.1", Format.TEXT),
        ("application/openmetrics-text;version=1.0.0;q=0", Format.TEXT),
        ("application/openmetrics-text;version=1.0.0;q=much", Format.TEXT),
        ("text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3", Format.TEXT),
        ("text/html,application/xhtml+xml,*/*;q=0.8", Format.TEXT),
        ("", Format.TEXT),
    ],
)  # fmt: skip
def test_format(accept: str, format: Format) -> None:
    assert negotiated(accept) is format


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("gzip", True),
        ("deflate, GZip;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("", False),
        ("br", False),
        ("identity", False),
        ("identity, x-gzip", True),
    ],
)
def test_gzip_only_where_it_is_wanted(header: str, accepted: bool) -> None:
    assert gzip_accepted(header) is accepted


@given(st.text(st.sampled_from('a/;,=q.01" '), max_size=40) | st.text(max_size=40))
def test_any_header_gives_a_page(header: str) -> None:
    assert negotiated(header) in Format
    assert gzip_accepted(header) in (True, False)
