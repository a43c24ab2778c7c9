"""The payload of AWS_MSK_IAM, signed by kafka-python, beside the signature that AWS's own botocore makes for the same request; no MSK was at hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exporter.kafka.credentials import Credentials
from exporter.kafka.errors import AuthenticationFailed
from exporter.kafka.sasl import _begin, _begun
from exporter.kafka.security import SecurityConfig

botocore = pytest.importorskip("botocore")

HOST, REGION = "b-1.orders.kafka.eu-central-1.amazonaws.com", "eu-central-1"
KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
MSK = {"protocol": "SASL_SSL", "mechanism": "AWS_MSK_IAM"}


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No credentials but those that a test sets."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    yield


def payload(**section: str) -> dict[str, Any]:
    security = SecurityConfig.model_validate({**MSK, **section})
    _, token = _begin(security, security.secret(), HOST)
    found: dict[str, Any] = json.loads(token)
    return found


def reference(told: dict[str, Any], session_token: str | None) -> str:
    """The signature of the same presigned request by botocore (SigV4, query), at the same moment."""
    from botocore.auth import SigV4QueryAuth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials as AwsCredentials

    class AtThatMoment(SigV4QueryAuth):  # type: ignore[misc]
        def add_auth(self, request: Any) -> None:
            request.context["timestamp"] = told["x-amz-date"]
            self._modify_request_before_signing(request)
            canonical = self.canonical_request(request)
            self.made = self.signature(self.string_to_sign(request, canonical), request)

        def payload(self, request: Any) -> str:
            return "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

    signer = AtThatMoment(AwsCredentials(KEY, SECRET, session_token), "kafka-cluster", REGION, expires=900)
    signer.add_auth(AWSRequest("GET", f"https://{HOST}/", params={"Action": "kafka-cluster:Connect"}))
    made: str = signer.made
    return made


@pytest.mark.parametrize("session_token", [None, "FwoGZXIvYXdzE//+=="])
def test_the_signature_is_that_of_aws(monkeypatch: pytest.MonkeyPatch, session_token: str | None) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    if session_token is not None:
        monkeypatch.setenv("AWS_SESSION_TOKEN", session_token)
    told = payload(aws_region=REGION)
    assert told["host"] == HOST
    assert told["action"] == "kafka-cluster:Connect"
    assert told["version"] == "2020_10_22"
    assert told["x-amz-credential"].startswith(f"{KEY}/")
    assert told["x-amz-credential"].endswith(f"/{REGION}/kafka-cluster/aws4_request")
    assert told.get("x-amz-security-token") == session_token
    assert told["x-amz-signature"] == reference(told, session_token)
    assert SECRET not in json.dumps(told)


def test_region_and_credentials_come_from_the_profile_too(tmp_path: Path) -> None:
    (tmp_path / "AWS_SHARED_CREDENTIALS_FILE").write_text(
        f"[kafka]\naws_access_key_id={KEY}\naws_secret_access_key={SECRET}\n"
    )
    (tmp_path / "AWS_CONFIG_FILE").write_text(f"[profile kafka]\nregion={REGION}\n")
    assert payload(aws_profile="kafka")["x-amz-credential"].startswith(f"{KEY}/")


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    credentials = Credentials(SecurityConfig.model_validate({**MSK, "aws_region": REGION}))
    with pytest.raises(AuthenticationFailed, match="SASL AWS_MSK_IAM: it cannot begin: no AWS credentials were found"):
        _begun(credentials, credentials.proof(), HOST, 10)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    credentials = Credentials(SecurityConfig.model_validate(MSK))
    with pytest.raises(AuthenticationFailed, match="Unable to determine region"):
        _begun(credentials, credentials.proof(), HOST, 10)
