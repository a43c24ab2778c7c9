"""What a ProgressWatch remembers, as one file that is replaced as a whole: a zip of numpy arrays (which carries checksums), with what is no array as JSON in one of them."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np

from exporter.derive.progress import ProgressWatch

FORMAT: Final = 1


def write(path: Path, state: Mapping[str, Mapping[str, Any]]) -> None:
    """Replaces the file atomically; raises OSError, and then the file is the one before."""
    arrays: dict[str, Any] = {}
    rest: dict[str, Any] = {"format": FORMAT}
    for part, values in state.items():
        rest[part] = {name: value for name, value in values.items() if not isinstance(value, np.ndarray)}
        arrays |= {f"{part}.{name}": value for name, value in values.items() if isinstance(value, np.ndarray)}
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            np.savez(file, json=np.frombuffer(json.dumps(rest).encode(), dtype=np.uint8), **arrays)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise


def read(path: Path) -> ProgressWatch:
    """Raises FileNotFoundError, OSError, and ValueError for a file that is not one of ours, of another format or damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            rest = json.loads(file["json"].tobytes())
            if rest.pop("format") != FORMAT:
                raise ValueError(f"its format is not {FORMAT}")
            for name in file.files:
                if name != "json":
                    part, _, column = name.partition(".")
                    rest[part][column] = file[name]
        return ProgressWatch.of_state(rest)
    except (KeyError, TypeError, AttributeError, IndexError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"it makes no sense: {error!r}") from error
