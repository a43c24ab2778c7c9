"""The program: configuration, daemon, command line and web pages."""

from importlib import metadata


def version() -> str:
    """Klaxon's version, as it is installed."""
    try:
        return metadata.version("klaxon")
    except metadata.PackageNotFoundError:
        return "unknown (not installed)"
