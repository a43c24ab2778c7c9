"""How a cluster is secured: what fits together, what each side is told, and who may read the files."""

from __future__ import annotations

import base64
import datetime as dt
import json
import stat
from pathlib import Path

import pytest
from cryptography.x509 import load_pem_x509_certificate

from demo import DemoError, certificates, security
from demo.security import Security, named
from exporter.config import ClusterConfig

EVERYTHING = Security(
    "SASL_SSL", also=("SSL", "TLS", "SASL_PLAINTEXT", "PLAINTEXT"), authorizer=True, jmx_password=True, jmx_tls=True
)


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cluster") / "security"
    security.write_files(folder, EVERYTHING, {1: "127.0.0.1", 101: "127.0.0.1"})
    return folder


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"listener": "SASL"}, "there is no listener 'SASL'; there are: PLAINTEXT, TLS"),
        ({"also": ("X",)}, "there is no listener 'X'"),
        ({"mechanism": "GSSAPI"}, "there is no mechanism 'GSSAPI'; there are: PLAIN, SCRAM-SHA-256"),
        ({"authorizer": True}, "on PLAINTEXT everybody is anonymous"),
        ({"users": ("admin",)}, "admin is a user anyway"),
    ],
)
def test_what_does_not_fit_together_is_refused(wrong: dict[str, object], complaint: str) -> None:
    with pytest.raises(DemoError, match=complaint):
        Security(**wrong)  # type: ignore[arg-type]


def test_one_word_names_listener_and_mechanism() -> None:
    assert named("SASL_SSL/PLAIN") == Security("SASL_SSL", "PLAIN")
    assert named("SSL").mechanism == Security().mechanism


def test_nobody_else_may_read_a_secret(secrets: Path) -> None:
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in secrets.iterdir() if path.name != "ca.pem"}
    assert set(modes.values()) == {0o600}, modes
    assert {"jmx.password", "jmx.access", "tools.properties", "node-101.keystore.pem", "klaxon.token"} <= set(modes)


def test_no_password_is_among_arguments(secrets: Path) -> None:
    flags = " ".join(security.jmx_flags(secrets, EVERYTHING, 1) + security.scram_credentials(secrets, EVERYTHING))
    assert "jmxremote.registry.ssl=true" in flags
    assert not [user for user in ("admin", "klaxon", "monitor") if security.password(secrets, user) in flags]


def test_clients_are_told_what_their_listener_asks_for(secrets: Path) -> None:
    def keys(listener: str, mechanism: str | None = None) -> set[str]:
        return set(security.client_settings(secrets, EVERYTHING, "klaxon", listener, mechanism))

    assert keys("PLAINTEXT") == set()
    assert keys("TLS") == {"security.protocol", "ssl.ca.location"}
    assert keys("SSL") - keys("TLS") == {"ssl.certificate.location", "ssl.key.location"}
    assert keys("SASL_SSL") - keys("TLS") == {"sasl.mechanism", "sasl.username", "sasl.password"}
    assert "sasl.oauthbearer.config" in keys("SASL_PLAINTEXT", "OAUTHBEARER")


@pytest.mark.parametrize("listener", security.LISTENERS)
def test_klaxon_takes_the_section_that_is_made_for_it(secrets: Path, listener: str) -> None:
    section = security.klaxon_block(secrets, EVERYTHING, "klaxon", listener)
    read = ClusterConfig.model_validate({"bootstrap_servers": ["127.0.0.1:9092"], "security": section})
    assert read.security.protocol == security.LISTENERS[listener]


def test_certificates_name_their_user_and_can_be_short_lived_and_expired(secrets: Path) -> None:
    def read(name: str) -> tuple[str, dt.timedelta]:
        found = load_pem_x509_certificate((secrets / f"{name}.pem").read_bytes())
        return found.subject.rfc4514_string(), found.not_valid_after_utc - dt.datetime.now(dt.UTC)

    assert "CN=klaxon" in read("klaxon")[0]
    before = (secrets / "node-1.jmx.properties").read_text()
    security.issue_node(secrets, EVERYTHING, 1, "127.0.0.1", valid_for=dt.timedelta(hours=1))
    assert dt.timedelta(minutes=50) < read("node-1")[1] < dt.timedelta(minutes=70)
    past = dt.datetime.now(dt.UTC) - dt.timedelta(days=9)
    security.issue_node(secrets, EVERYTHING, 1, "127.0.0.1", valid_from=past, valid_for=dt.timedelta(days=1))
    assert read("node-1")[1] < dt.timedelta()
    assert (secrets / "node-1.jmx.properties").read_text() == before
    assert (secrets / "node-1.key").read_text() in (secrets / "node-1.keystore.pem").read_text()
    certificates.issue(secrets, "node-1", "127.0.0.1")


def test_an_unsecured_token_says_whose_it_is_until_when() -> None:
    header, claims, signature = security.unsecured_token("klaxon", 1000.0, 60.0).split(".")
    assert [json.loads(base64.urlsafe_b64decode(part + "==")) for part in (header, claims)] == [
        {"alg": "none"},
        {"sub": "klaxon", "iat": 1000.0, "exp": 1060.0},
    ]
    assert signature == ""


def test_a_user_that_is_not_there_is_named(secrets: Path) -> None:
    with pytest.raises(DemoError, match="no user 'nobody'"):
        security.password(secrets, "nobody")
