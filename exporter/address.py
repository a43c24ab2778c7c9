"""Addresses of HTTP servers in a configuration."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit


def http_address(url: str, like: str, instead: str = "") -> SplitResult:
    """The parts of an address that gives away nothing; raises ValueError with what it must be ``like``, and where else secrets belong (``instead``)."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"must be an address like {like}")
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError(f"must be without user, query and fragment{instead}")
    return parts
