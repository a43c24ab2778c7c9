"""The book on real files: what it keeps, and what it does when the file is corrupt, gone, full or read-only."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alerts.book import Book, BookError
from alerts.book.book import KEEP_CLOSED_COUNT, KEEP_CLOSED_SECONDS
from alerts.book.schema import VERSION
from alerts.book.store import RETRY_AFTER
from alerts.engine.engine import StoredAlert
from alerts.engine.lifecycle import Tracked
from alerts.model import Alert, AlertState, Incident, Severity
from exporter.facts.cluster import Node, Role


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def alert(broker: int, state: AlertState = AlertState.FIRING) -> StoredAlert:
    return StoredAlert(
        "r.yaml;g;Down;",
        Tracked(Alert("Down", {"alertname": "Down", "broker": str(broker)}, {"summary": "é"}, state, 1.0, 2.0), 3.0),
    )


def incident(number: int, closed_at: float | None = None, opened_at: float = 5.0) -> Incident:
    return Incident(f"i{number}", "c", "P", "broker/2", Severity.WARNING, opened_at, ("f",), closed_at=closed_at)


class Shelf:
    """A folder with a book, its warnings, and clocks to turn."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock, self.monotonic = Clock(), Clock()
        self.warnings: list[str] = []
        self.book = self.open()

    def open(self) -> Book:
        return Book(self.folder, self.clock, self.warnings.append, self.monotonic)

    def reopen(self) -> Book:
        self.book.close()
        self.book = self.open()
        return self.book


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "data")


def test_alerts_and_evaluations_come_back(shelf: Shelf) -> None:
    one, two = alert(1), alert(2, AlertState.PENDING)
    shelf.book.save_alerts([one, two], [], {"g": 10.0, "old": 5.0})
    book = shelf.reopen()
    assert sorted(book.load_alerts(), key=lambda s: s.tracked.alert.labels["broker"]) == [one, two]
    assert book.load_evaluations() == {"g": 10.0, "old": 5.0}
    book.save_alerts([], [(one.rule_key, one.tracked.alert.fingerprint)], {"g": 20.0})
    book = shelf.reopen()
    assert book.load_alerts() == [two]
    assert book.load_evaluations() == {"g": 20.0}


def test_incidents_come_back_the_same_one_twice_if_it_opened_twice(shelf: Shelf) -> None:
    shelf.clock.now = 100.0
    shelf.book.save_incidents([incident(1, closed_at=9.0), incident(1, opened_at=50.0), incident(2)])
    shelf.book.save_incidents([incident(2, closed_at=60.0)])
    book = shelf.reopen()
    assert [(i.id, i.opened_at, i.closed_at) for i in book.load_incidents()] == [
        ("i1", 5.0, 9.0),
        ("i2", 5.0, 60.0),
        ("i1", 50.0, None),
    ]
    assert [i.opened_at for i in book.load_incidents(closed=False)] == [50.0]


def test_old_closed_incidents_are_pruned(shelf: Shelf) -> None:
    now = shelf.clock.now
    shelf.book.save_incidents(
        [incident(1, closed_at=now - KEEP_CLOSED_SECONDS - 1), incident(2, closed_at=now - 10), incident(3)]
    )
    shelf.book.record_sent("i1", "p", "firing", now - KEEP_CLOSED_SECONDS - 1)
    shelf.book.record_sent("i3", "p", "firing", now - KEEP_CLOSED_SECONDS - 1)
    shelf.clock.now += 3601
    shelf.book.save_incidents([])
    assert [i.id for i in shelf.book.load_incidents()] == ["i2", "i3"]
    assert [s.incident for s in shelf.book.sent()] == ["i3"]
    shelf.book.save_incidents(
        [incident(100 + n, closed_at=now + n, opened_at=now) for n in range(KEEP_CLOSED_COUNT + 5)]
    )
    shelf.clock.now += 3601
    shelf.book.save_incidents([])
    found = shelf.book.load_incidents()
    assert len([i for i in found if i.closed_at is not None]) == KEEP_CLOSED_COUNT
    assert {"i3", f"i{100 + KEEP_CLOSED_COUNT + 4}"} <= {i.id for i in found}


def test_what_was_sent(shelf: Shelf) -> None:
    for at in (1.0, 2.0):
        shelf.book.record_sent("i1", "http://am", "firing", at)
    shelf.book.record_sent("i2", "http://am", "resolved", 3.0)
    book = shelf.reopen()
    assert [(s.incident, s.what, s.at) for s in book.sent()] == [("i1", "firing", 2.0), ("i2", "resolved", 3.0)]
    assert [s.what for s in book.sent("i2")] == ["resolved"]


def test_nodes(shelf: Shelf) -> None:
    nodes = [Node(n, f"h{n}", 9092, None, frozenset({Role.BROKER, Role.CONTROLLER}), True, None) for n in (1, 2)]
    shelf.book.save_nodes("c", nodes)
    shelf.book.save_nodes("d", nodes[:1])
    book = shelf.reopen()
    assert book.load_nodes("c") == nodes
    assert (book.forget_node("c", 1), book.forget_node("c", 1)) == (True, False)
    assert (book.load_nodes("c"), book.load_nodes("d")) == (nodes[1:], nodes[:1])


def test_meta(shelf: Shelf) -> None:
    assert shelf.book.get("k") is None
    shelf.book.set("k", "v")
    assert shelf.reopen().get("k") == "v"


def test_an_entry_that_cannot_be_read_is_left_out(shelf: Shelf) -> None:
    shelf.book.save_alerts([alert(1), alert(2)], [], {})
    shelf.book.close()
    with sqlite3.connect(shelf.book.path) as connection:
        connection.execute("UPDATE alerts SET body = '{}' WHERE id = ?", (alert(1).tracked.alert.fingerprint,))
    connection.close()
    assert shelf.open().load_alerts() == [alert(2)]
    assert "is left out" in shelf.warnings[-1]


def test_many_threads(shelf: Shelf) -> None:
    def write(number: int) -> None:
        for at in range(20):
            shelf.book.record_sent(f"i{number}", "p", "firing", float(at))
            shelf.book.sent(f"i{number}")

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [s.at for s in shelf.reopen().sent()] == [19.0] * 4


def test_killed_at_any_point_it_is_whole(tmp_path: Path) -> None:
    """A process that is killed in the middle of writing leaves pairs that were written together together."""
    program = f"""
import sys
from pathlib import Path
from alerts.book import Book
book = Book(Path({str(tmp_path)!r}))
for n in range(10**6):
    book.save_alerts([], [], {{"a": float(n), "b": float(n)}})
    if n == 50: print("going", flush=True)
"""
    root = Path(__file__).parents[3]
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=root)
    assert child.stdout is not None
    assert child.stdout.readline() == b"going\n"
    child.kill()
    child.wait(30)
    child.stdout.close()
    found = Book(tmp_path).load_evaluations()
    assert found["a"] == found["b"] >= 50


# --- a file that does not do what it should ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["garbage", "truncated", "page"])
def test_a_corrupt_file_is_set_aside_and_a_new_book_begins(shelf: Shelf, damage: str) -> None:
    shelf.book.save_alerts([alert(n) for n in range(200)], [], {"g": 1.0})
    shelf.book.close()
    path = shelf.book.path
    whole = path.read_bytes()
    assert len(whole) > 16384
    path.write_bytes(
        {
            "garbage": b"not a database at all" * 100,
            "truncated": whole[:10000],
            "page": whole[:4096] + b"\xff" * 8192 + whole[12288:],
        }[damage]
    )
    book = shelf.open()
    assert book.healthy
    assert book.load_alerts() == []
    (aside,) = [p for p in shelf.folder.iterdir() if ".corrupt-" in p.name]
    assert aside.name == "book.sqlite.corrupt-20231114T221320Z"
    assert "set aside as book.sqlite.corrupt-20231114T221320Z" in shelf.warnings[-1]
    book.save_alerts([alert(1)], [], {})
    assert shelf.open().load_alerts() == [alert(1)]


def test_a_newer_file_is_set_aside(shelf: Shelf) -> None:
    shelf.book.close()
    with sqlite3.connect(shelf.book.path) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    book = shelf.open()
    assert book.healthy
    assert f"its version {VERSION + 1} is newer" in shelf.warnings[-1]


def test_a_folder_that_was_removed_is_made_again_with_all_that_was_in_it(shelf: Shelf) -> None:
    shelf.book.save_alerts([alert(1)], [], {"g": 1.0})
    shutil.rmtree(shelf.folder)
    shelf.book.save_alerts([alert(2)], [], {"g": 2.0})
    assert shelf.book.healthy
    found = shelf.reopen()
    assert (len(found.load_alerts()), found.load_evaluations()) == (2, {"g": 2.0})


def test_without_a_place_it_goes_on_from_memory_and_writes_when_there_is_one(shelf: Shelf) -> None:
    shelf.book.save_alerts([alert(1)], [], {"g": 1.0})
    shutil.rmtree(shelf.folder)
    shelf.folder.write_text("a file where the folder was")
    with pytest.raises(BookError) as error:
        shelf.book.save_alerts([alert(2)], [], {"g": 2.0})
    assert error.value.path == shelf.book.path
    assert not shelf.book.healthy
    shelf.book.save_alerts([alert(3)], [], {"g": 3.0})
    assert len(shelf.book.load_alerts()) == 3
    shelf.folder.unlink()
    shelf.book.record_sent("i", "p", "firing", 1.0)
    assert not shelf.book.healthy
    shelf.monotonic.now += RETRY_AFTER
    shelf.book.record_sent("i", "p", "firing", 2.0)
    assert shelf.book.healthy
    assert "can be written again" in shelf.warnings[-1]
    found = shelf.reopen()
    assert (len(found.load_alerts()), found.load_evaluations(), [s.at for s in found.sent()]) == (3, {"g": 3.0}, [2.0])


def test_a_start_without_a_place(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("in the way")
    shelf = Shelf(tmp_path / "data")
    assert not shelf.book.healthy
    assert "cannot be opened" in shelf.warnings[0]
    shelf.book.save_alerts([alert(1)], [], {"g": 1.0})
    assert shelf.book.load_alerts() == [alert(1)]
    (tmp_path / "data").unlink()
    shelf.monotonic.now += RETRY_AFTER
    shelf.book.save_alerts([alert(2)], [], {"g": 2.0})
    assert shelf.book.healthy
    assert len(shelf.reopen().load_alerts()) == 2


def test_a_full_disk(tmp_path: Path) -> None:
    """In a process of its own whose files may not grow: every write from then on is in memory, and in the file once there is room again."""
    program = f"""
import resource, signal
from pathlib import Path
from alerts.book import Book, BookError
from tests.alerts.book.test_book import incident
turned = [0.0]
book = Book(Path({str(tmp_path)!r}), monotonic=lambda: turned[0])
book.save_incidents([incident(0)])
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
raised = 0
for n in range(1, 2000):
    try:
        book.save_incidents([incident(n)])
    except BookError as error:
        raised += 1
assert raised == 1, raised
assert not book.healthy
assert len(book.load_incidents()) == 2000
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
turned[0] = 60.0
book.save_incidents([incident(2000)])
assert book.healthy
book.close()
assert len(Book(Path({str(tmp_path)!r})).load_incidents()) == 2001
"""
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes to read-only files")
def test_a_read_only_folder(shelf: Shelf) -> None:
    shelf.book.save_alerts([alert(1)], [], {})
    shelf.book.close()
    shelf.book.path.chmod(0o444)
    shelf.folder.chmod(0o555)
    try:
        book = shelf.open()
        assert not book.healthy
        book.save_alerts([alert(2)], [], {})
    finally:
        shelf.folder.chmod(0o755)


# --- its size


def test_it_shrinks_when_old_incidents_go(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alerts.book.book.MOST_BYTES", 400_000)
    shelf.book.save_incidents([])
    now = shelf.clock.now
    many = [replace(incident(n, closed_at=now + n, opened_at=now), summary="x" * 2000) for n in range(600)]
    shelf.book.save_incidents([*many, replace(incident(9999), summary="open")])
    assert sum(p.stat().st_size for p in shelf.folder.iterdir()) > 1_000_000
    shelf.clock.now += 3601
    shelf.book.save_incidents([])
    assert sum(p.stat().st_size for p in shelf.folder.iterdir()) < 600_000
    kept = shelf.book.load_incidents()
    assert "i9999" in {i.id for i in kept} and "i599" in {i.id for i in kept} and "i0" not in {i.id for i in kept}
    assert len(shelf.reopen().load_incidents()) == len(kept)


# --- bytes that changed by themselves


@pytest.mark.parametrize("running", [False, True])
def test_a_broken_schema_that_is_no_text(tmp_path: Path, running: bool) -> None:
    """SQLite quotes it in its error, which Python then cannot decode."""
    shelf = Shelf(tmp_path)
    shelf.book.save_incidents([incident(1)])
    shelf.book.close()
    if running:
        shelf.book = shelf.open()
    content = shelf.book.path.read_bytes()
    assert b"CREATE TABLE" in content
    with shelf.book.path.open("r+b") as file:
        file.write(content.replace(b"CREATE TABLE", b"CREATE TAB\xe5E"))
    book = shelf.book if running else shelf.open()
    with suppress(BookError):
        book.load_incidents()
    with suppress(BookError):
        book.save_incidents([incident(2)])
    assert "i2" in {i.id for i in book.load_incidents()}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=40), st.booleans()
)
def test_flipped_bytes_stop_nothing(tmp_path: Path, flips: list[tuple[float, int]], running: bool) -> None:
    """Whatever the file becomes, under a running Klaxon or before its start: nothing raises but a BookError that says what is, and what is written from then on is there."""
    folder = tmp_path / f"{time.time_ns()}"
    shelf = Shelf(folder)
    shelf.book.save_alerts([alert(n) for n in range(40)], [], {"g": 1.0})
    shelf.book.save_incidents([incident(n) for n in range(40)])
    shelf.book.close()
    if running:
        shelf.book = shelf.open()
    content = bytearray(shelf.book.path.read_bytes())
    for where, change in flips:
        content[int(where * len(content))] ^= change
    with shelf.book.path.open("r+b") as file:
        file.write(content)
    book = shelf.book if running else shelf.open()
    for attempt in range(3):
        shelf.monotonic.now += RETRY_AFTER + 1
        with suppress(BookError):
            book.load_alerts()
            book.load_incidents()
            book.sent()
        with suppress(BookError):
            book.save_incidents([incident(1000 + attempt)])
        with suppress(BookError):
            book.record_sent("i", "p", "firing", 1.0)
    assert {"i1000", "i1001", "i1002"} <= {i.id for i in book.load_incidents()}
    if book.healthy:
        book.close()
        again = shelf.open()
        assert {"i1000", "i1001", "i1002"} <= {i.id for i in again.load_incidents()} or any(
            ".corrupt-" in p.name for p in folder.iterdir()
        )


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    """A file system of its own, a megabyte small: paging's state goes on in memory, and into the file once there is room."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no small disk can be had: {mounted.stderr.strip()}")
    shelf = Shelf(disk)
    try:
        shelf.book.save_incidents([incident(0)])
        with (disk / "filler").open("wb", buffering=0) as filler, suppress(OSError):
            while True:
                filler.write(b"x" * 4096)
        raised = 0
        for n in range(1, 300):
            try:
                shelf.book.save_incidents([incident(n)])
            except BookError:
                raised += 1
        assert raised == 1 and not shelf.book.healthy
        assert len(shelf.book.load_incidents()) == 300
        (disk / "filler").unlink()
        shelf.monotonic.now += RETRY_AFTER
        shelf.book.save_incidents([incident(300)])
        assert shelf.book.healthy
        assert len(shelf.reopen().load_incidents()) == 301
    finally:
        shelf.book.close()
        subprocess.run(["umount", str(disk)], check=True)
