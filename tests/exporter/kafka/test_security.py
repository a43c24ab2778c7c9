"""What may stand in the section `security`, and files that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from exporter.kafka.errors import AuthenticationFailed
from exporter.kafka.security import PLAINTEXT, SecurityConfig

SASL = {"protocol": "SASL_SSL", "mechanism": "SCRAM-SHA-512", "username": "klaxon", "password_file": "/secret"}


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"protocol": "TLS"}, "'SASL_SSL'"),
        ({"protocol": "SSL", "ca": "x"}, "ca"),
        ({"protocol": "PLAINTEXT", "username": "klaxon"}, "belong to a SASL protocol; protocol is PLAINTEXT"),
        ({"protocol": "SSL", "mechanism": "PLAIN"}, "belong to a SASL protocol; protocol is SSL"),
        ({"protocol": "SASL_SSL"}, "protocol SASL_SSL needs mechanism, username, password_file too"),
        ({**SASL, "password_file": None}, "needs password_file too"),
        ({**SASL, "username": ""}, "needs username too"),
        (
            {**SASL, "mechanism": "GSSAPI"},
            "GSSAPI is not one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512; give Klaxon a user",
        ),
        ({**SASL, "mechanism": "OAUTHBEARER"}, "OAUTHBEARER is not one of"),
        ({**SASL, "mechanism": "scram-sha-512"}, "scram-sha-512 is not one of"),
        ({"protocol": "PLAINTEXT", "ca_file": "ca.pem"}, "belong to protocol SSL or SASL_SSL; protocol is PLAINTEXT"),
        ({"protocol": "SSL", "certificate_file": "c.pem"}, "certificate_file and key_file belong together"),
        ({"protocol": "SSL", "key_password_file": "p"}, "key_password_file belongs to key_file"),
        ({"protocol": "SSL", "verify_hostname": "no"}, "boolean"),
    ],
)
def test_what_does_not_fit_together_is_refused_with_what_would(section: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError) as refused:
        SecurityConfig.model_validate(section)
    assert says in str(refused.value)


def test_what_is_taken() -> None:
    assert SecurityConfig.model_validate({}) == PLAINTEXT
    taken = SecurityConfig.model_validate({**SASL, "ca_file": "ca.pem", "certificate_file": "c", "key_file": "k"})
    assert taken.tls
    assert taken.sasl
    assert PLAINTEXT.context() is None


@pytest.mark.parametrize(
    ("key", "section"),
    [
        ("ca_file", {"ca_file": "{file}"}),
        ("certificate_file", {"certificate_file": "{file}", "key_file": "{file}"}),
        ("key_password_file", {"certificate_file": "c", "key_file": "k", "key_password_file": "{file}"}),
    ],
)
@pytest.mark.parametrize("content", [None, b"", b"no certificate \xff"], ids=["missing", "empty", "rubbish"])
def test_a_file_that_cannot_be_used_is_named(
    tmp_path: Path, key: str, section: dict[str, str], content: bytes | None
) -> None:
    file = tmp_path / "given.pem"
    if content is not None:
        file.write_bytes(content)
    filled = {k: v.format(file=file) for k, v in section.items()}
    security = SecurityConfig.model_validate({"protocol": "SSL", **filled})
    with pytest.raises(AuthenticationFailed) as failed:
        security.context()
    # An empty password is a password: then the certificate is what cannot be used.
    assert f"security.{key}" in str(failed.value) or (key == "key_password_file" and content == b"")
    assert str(file) in str(failed.value) or content == b""


def test_a_password_is_its_file_without_the_end_of_line(tmp_path: Path) -> None:
    file = tmp_path / "password"
    security = SecurityConfig.model_validate({**SASL, "password_file": str(file)})
    file.write_bytes("  größe \r\n".encode())
    assert security.password() == "  größe "
