"""What may stand in the section `security`, and files that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from exporter.files import FOLDER
from exporter.kafka.errors import AuthenticationFailed
from exporter.kafka.security import PLAINTEXT, SecurityConfig

SASL = {"protocol": "SASL_SSL", "mechanism": "SCRAM-SHA-512", "username": "klaxon", "password_file": "/secret"}

OAUTH = {"protocol": "SASL_SSL", "mechanism": "OAUTHBEARER"}
CLIENT = {"token_url": "https://login.example.org/token", "client_id": "klaxon", "client_secret_file": "/secret"}


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"protocol": "TLS"}, "'SASL_SSL'"),
        ({"protocol": "SSL", "ca": "x"}, "ca"),
        ({"protocol": "PLAINTEXT", "username": "klaxon"}, "username belongs to mechanism PLAIN; mechanism is not set"),
        ({"protocol": "SSL", "mechanism": "PLAIN"}, "mechanism belongs to protocol SASL_SSL or SASL_PLAINTEXT"),
        ({"protocol": "SASL_SSL"}, "protocol SASL_SSL needs a mechanism, one of PLAIN, SCRAM-SHA-256"),
        ({**SASL, "password_file": None}, "needs username, and password_file or password (one of them)"),
        ({**SASL, "password": "x"}, "needs username, and password_file or password (one of them)"),
        ({**SASL, "password_file": None, "password": ""}, "password is empty"),
        ({**SASL, "username": ""}, "needs username, and password_file"),
        ({**SASL, "mechanism": "scram-sha-512"}, "'SCRAM-SHA-512'"),
        ({**SASL, "mechanism": "OAUTHBEARER"}, "username belongs to mechanism PLAIN; mechanism is OAUTHBEARER"),
        (OAUTH, "needs token_file, or token_url, client_id and client_secret_file"),
        ({**OAUTH, "token_url": "https://a/b"}, "needs token_file, or token_url, client_id and client_secret_file"),
        ({**OAUTH, **CLIENT, "token_file": "t"}, "needs token_file, or token_url, client_id and client_secret_file"),
        ({**OAUTH, "token_file": "t", "scope": "kafka"}, "scope belongs to token_url; a token_file is taken as it is"),
        ({**OAUTH, **CLIENT, "token_url": "login/token"}, "must be an address like https://login.example.org"),
        ({**OAUTH, **CLIENT, "token_url": "https://me:x@a/b"}, "must be without user, query and fragment"),
        ({**OAUTH, **CLIENT, "extensions": {"auth": "x"}}, "'auth' cannot name an extension"),
        ({**OAUTH, **CLIENT, "extensions": {"a1": "x"}}, "'a1' cannot name an extension"),
        ({**OAUTH, **CLIENT, "extensions": {"pool": "\x01"}}, "the value of pool must be printable ASCII"),
        ({**SASL, "token_file": "t"}, "token_file belongs to mechanism OAUTHBEARER; mechanism is SCRAM-SHA-512"),
        ({"protocol": "SASL_PLAINTEXT", "mechanism": "AWS_MSK_IAM"}, "AWS_MSK_IAM needs protocol SASL_SSL"),
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
    assert security.secret().get_secret_value() == "  größe "


@pytest.mark.parametrize("content", [b"", b"\n", b"two\nlines\n", b"\xff\xfe"], ids=["empty", "line", "lines", "bytes"])
def test_what_is_no_secret_is_named_without_telling_it(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "password"
    file.write_bytes(content)
    with pytest.raises(
        AuthenticationFailed, match=r"security.password_file \(.*password\) cannot be used: it "
    ) as failed:
        SecurityConfig.model_validate({**SASL, "password_file": str(file)}).secret()
    assert "lines\n" not in str(failed.value)


@pytest.mark.parametrize("content", ["a token", "päss", "a\tb", " "])
def test_a_token_must_fit_into_a_header(tmp_path: Path, content: str) -> None:
    file = tmp_path / "token"
    file.write_text(content)
    with pytest.raises(AuthenticationFailed, match="a token is printable ASCII without spaces"):
        SecurityConfig.model_validate({**OAUTH, "token_file": str(file)}).secret()


@pytest.mark.parametrize(("mechanism", "package"), [("GSSAPI", "gssapi"), ("AWS_MSK_IAM", "botocore")])
def test_a_package_that_is_missing_is_named(mechanism: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.kafka.security.find_spec", lambda _: None)
    with pytest.raises(ValidationError, match=rf"needs the Python package {package}.*install klaxon\[{package}\]"):
        SecurityConfig.model_validate({"protocol": "SASL_SSL", "mechanism": mechanism})


def test_files_start_at_the_folder_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret\n")
    taken = SecurityConfig.model_validate({**SASL, "password_file": "password"}, context={FOLDER: tmp_path})
    assert taken.password_file == str(tmp_path / "password")
    with pytest.raises(ValidationError, match="passwort cannot be read: No such file or directory"):
        SecurityConfig.model_validate({**SASL, "password_file": "passwort"}, context={FOLDER: tmp_path})


def test_a_secret_is_not_shown() -> None:
    section = SecurityConfig.model_validate({**SASL, "password_file": None, "password": "hunter2"})
    assert "hunter2" not in f"{section!r} {section} {section.model_dump()} {section.model_dump_json()}"
    assert section.secret().get_secret_value() == "hunter2"
