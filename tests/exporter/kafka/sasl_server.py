"""The broker's side of SASL, for tests: it takes or refuses, and tells for how long."""

from __future__ import annotations

import base64
import hashlib
import hmac
import struct
from collections.abc import Callable

from kafka.protocol.sasl import (
    SaslAuthenticateRequest,
    SaslAuthenticateResponse,
    SaslHandshakeRequest,
    SaslHandshakeResponse,
)

from tests.exporter.kafka.hostile import Stream

HANDSHAKE, AUTHENTICATE = 17, 36
USER, PASSWORD = "klaxon", "größer als = und ,"
ALL = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "GSSAPI", "AWS_MSK_IAM")


class Server:
    """The broker's side of the exchange (RFC 4616, 5802, 7628, 4752). ``handed_in`` counts successes."""

    def __init__(self, mechanisms: tuple[str, ...] = ALL) -> None:
        self.mechanisms = mechanisms
        self.user, self.password = USER, PASSWORD
        self.session_lifetime_ms = 0
        self.honest = True
        """Whether it proves that it knows the password too (SCRAM)."""
        self.handed_in = 0
        self.tokens: list[bytes] = []
        """What clients handed in, in order."""
        self.token = "a token"
        """The bearer token that is taken."""

    def __call__(self, stream: Stream) -> bool:
        version, correlation, body = request_of(stream, HANDSHAKE)
        asked = SaslHandshakeRequest.decode(body, version=version).mechanism
        error = 0 if asked in self.mechanisms else 33
        answer = SaslHandshakeResponse(error_code=error, mechanisms=list(self.mechanisms))
        _send(stream, correlation, bytes(answer.encode(version=version)), flexible=False)
        if error:
            return False
        steps: dict[str, Callable[[Stream], bool]] = {
            "PLAIN": self._plain,
            "OAUTHBEARER": self._oauthbearer,
            "GSSAPI": self._gssapi,
            "AWS_MSK_IAM": self._aws,
        }
        take = steps.get(asked) or (lambda stream: self._scram(stream, asked.removeprefix("SCRAM-")))
        passed = take(stream)
        self.handed_in += passed
        return passed

    def _oauthbearer(self, stream: Stream) -> bool:
        token, reply = self._token(stream)
        if token.split(b"\x01")[1] == f"auth=Bearer {self.token}".encode():
            return reply(b"", None)
        reply(b'{"status":"invalid_token"}', None)
        token, reply = self._token(stream)
        assert token == b"\x01"
        return reply(b"", 'Authentication failed: {"status":"invalid_token"}')

    def _gssapi(self, stream: Stream) -> bool:
        """The messages of a Kerberos exchange as the tests' gssapi makes them: no ciphers, but every step."""
        token, reply = self._token(stream)
        if token != b"AP-REQ":
            return reply(b"", "Authentication failed: no ticket")
        reply(b"AP-REP", None)
        token, reply = self._token(stream)
        reply(b"wrapped:\x07\x00\x10\x00", None)
        token, reply = self._token(stream)
        if not token.startswith(b"wrapped:\x01\x00\x10\x00"):
            return reply(b"", "Authentication failed: no such protection")
        return reply(b"", None)

    def _aws(self, stream: Stream) -> bool:
        _, reply = self._token(stream)
        return reply(b'{"version":"2020_10_22","request-id":"1"}', None)

    def _plain(self, stream: Stream) -> bool:
        token, reply = self._token(stream)
        if token != f"{self.user}\0{self.user}\0{self.password}".encode():
            return reply(b"", "Authentication failed: Invalid username or password")
        return reply(b"", None)

    def _scram(self, stream: Stream, hash_name: str) -> bool:
        name = hash_name.replace("-", "").lower()

        def mac(key: bytes, text: bytes) -> bytes:
            return hmac.new(key, text, name).digest()

        first, reply = self._token(stream)
        bare = first.removeprefix(b"n,,")
        fields = dict(pair.split(b"=", 1) for pair in bare.split(b","))
        user = fields[b"n"].decode().replace("=2C", ",").replace("=3D", "=")
        salt, nonce = b"some salt", fields[b"r"] + b"ours"
        challenge = b"r=" + nonce + b",s=" + base64.b64encode(salt) + b",i=4096"
        reply(challenge, None)
        final, reply = self._token(stream)
        without_proof, _, proof = final.rpartition(b",p=")
        salted = hashlib.pbkdf2_hmac(name, self.password.encode(), salt, 4096)
        everything = b",".join((bare, challenge, without_proof))
        stored = hashlib.new(name, mac(salted, b"Client Key")).digest()
        signature = mac(stored, everything)
        client_key = bytes(a ^ b for a, b in zip(base64.b64decode(proof), signature, strict=True))
        if user != self.user or hashlib.new(name, client_key).digest() != stored:
            return reply(b"", "Authentication failed during authentication due to invalid credentials")
        ours = mac(mac(salted, b"Server Key"), everything) if self.honest else b"not ours"
        return reply(b"v=" + base64.b64encode(ours), None)

    def _token(self, stream: Stream) -> tuple[bytes, Callable[[bytes, str | None], bool]]:
        """What the client hands in, and a way to answer that says whether it was taken."""
        version, correlation, body = request_of(stream, AUTHENTICATE)

        def reply(token: bytes, refusal: str | None) -> bool:
            answer = SaslAuthenticateResponse(
                error_code=58 if refusal else 0,
                error_message=refusal,
                auth_bytes=token,
                session_lifetime_ms=self.session_lifetime_ms,
            )
            _send(stream, correlation, bytes(answer.encode(version=version)), flexible=True)
            return refusal is None

        token = bytes(SaslAuthenticateRequest.decode(body, version=version).auth_bytes)
        self.tokens.append(token)
        return token, reply


def request_of(stream: Stream, key: int) -> tuple[int, int, bytes]:
    """Version, correlation id and body of the next request, which must be of this API; raises OSError when the client has gone."""
    size = stream.receive(4)
    frame = stream.receive(struct.unpack(">i", size)[0]) if size else None
    if frame is None:
        raise OSError("the client has gone")
    found, version, correlation, length = struct.unpack_from(">hhih", frame)
    assert found == key
    flexible = key == AUTHENTICATE
    return version, correlation, frame[10 + length + flexible :]


def _send(stream: Stream, correlation: int, body: bytes, *, flexible: bool) -> None:
    header = struct.pack(">i", correlation) + (b"\0" if flexible else b"")
    stream.send(struct.pack(">i", len(header) + len(body)) + header + body)
