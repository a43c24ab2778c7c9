"""Families of the collector ``certificates``."""

from __future__ import annotations

from exporter.metrics.rows.row import MetricRow, Owner, gauge

ROWS: tuple[MetricRow, ...] = (
    gauge(
        "kafka_certificate_expiry_timestamp_seconds",
        "When a certificate that the listener shows ends, Unix time; its own and those above it that it sends.",
        "broker listener address subject",
        Owner.CERTIFICATES,
        unit="seconds",
    ),
    gauge(
        "kafka_certificate_info",
        "Who signed a certificate that the listener shows; always 1.",
        "broker listener address subject issuer",
        Owner.CERTIFICATES,
    ),
    gauge(
        "kafka_certificate_verified",
        "1 if Klaxon's security settings accept the listener's certificate, 0 if not; absent where they do not say whom to trust.",
        "broker listener address",
        Owner.CERTIFICATES,
    ),
    gauge(
        "kafka_certificate_problem",
        "1 for each listener whose certificate is not accepted (kind unverified) or could not be read (refused, timeout, authentication, …), with the reason.",
        "broker listener address kind problem",
        Owner.CERTIFICATES,
        sparse=True,
    ),
    gauge(
        "klaxon_certificate_expiry_timestamp_seconds",
        "When a certificate in a file of the cluster's security settings ends, Unix time.",
        "file subject",
        Owner.CERTIFICATE_FILES,
        unit="seconds",
    ),
    gauge(
        "klaxon_certificate_file_problem",
        "1 for each certificate file of the cluster's security settings that cannot be read, with the reason.",
        "file problem",
        Owner.CERTIFICATE_FILES,
        sparse=True,
    ),
)
