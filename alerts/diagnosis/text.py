"""How an incident reads: the page as plain text, for mail, chat and terminal, and the short forms that go with a notification."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime, tzinfo

from alerts.diagnosis.template import duration
from alerts.model import Action, Evidence, Finding, Incident, Sent, Verdict

WIDTH = 120

MOST_LINES = 30
"""Incidents that the notification of a summary names."""


def page(incident: Incident, now: float, zone: tzinfo = UTC, delivered: Sequence[str] = ()) -> str:
    """The whole page: what is wrong, what it means, why we think so, what to do. ``now`` is Unix seconds, times are shown in ``zone``; ``delivered`` says who took it."""
    lines = [*_lines(incident, now, zone), *_wrapped(" · ".join(delivered), " " * 11, "Delivered  ")]
    return "\n".join(lines).rstrip() + "\n"


def deliveries(incident: Incident, sent: Iterable[Sent], peers: Collection[str], zone: tzinfo = UTC) -> list[str]:
    """Which peers took what of this opening of the incident, and which of the configured ones have taken nothing; empty while it is not ready to be sent."""
    if incident.settled_at is None:
        return []
    taken = [one for one in sent if one.at >= incident.settled_at]
    said = [f"{clock(one.at, zone)} {_what(one.what)} taken by {one.peer}" for one in taken]
    waiting = sorted(set(peers) - {one.peer for one in taken})
    if waiting:
        said.append(f"nothing taken yet by {', '.join(waiting)}")
    return said or ["to nobody: no Alertmanager and no webhook is configured"]


def _what(row: str) -> str:
    """``firing warning 1700000000.0`` -> ``firing warning``, ``opened/0 1700000000.0`` -> ``opened``."""
    return row.rpartition(" ")[0].partition("/")[0]


def subject_words(subject: str) -> str:
    """``broker/2`` -> ``broker 2``; ``cluster`` -> ``whole cluster``."""
    return "whole cluster" if subject == "cluster" else subject.replace("/", " ", 1)


def confidence_words(finding: Finding) -> str:
    """``high confidence · nothing unknown``."""
    unknown = sum(e.verdict in (Verdict.UNKNOWN, Verdict.NOT_YET) for e in finding.evidence)
    if unknown:
        tail = f"{unknown} of {len(finding.evidence)} questions unknown"
    else:
        tail = "nothing unknown" if not finding.unknowns else "not sure"
    return f"{finding.confidence} confidence · {tail}"


def clock(at: float, zone: tzinfo = UTC) -> str:
    return datetime.fromtimestamp(at, zone).strftime("%H:%M:%S")


def _lines(incident: Incident, now: float, zone: tzinfo) -> Iterator[str]:
    yield _title(incident, now, zone)
    yield ""
    finding = incident.finding
    if incident.stands_for:
        yield from _wrapped(incident.summary)
        yield ""
        yield "Stands for"
        yield from (line for one in incident.stands_for for line in _wrapped(one, " " * 8, "    "))
    elif finding is None:
        yield from _wrapped(incident.summary)
        yield "No cause is known: this alert has no decision tree, or it could not be walked."
    else:
        yield from _wrapped(finding.says)
        yield from _wrapped(finding.impact)
        yield ""
        yield from _why(finding)
        yield from _unknowns(finding)
        yield from _actions(finding.do)
    yield ""
    yield from _explains(incident)
    yield from _history(incident, zone)


def _title(incident: Incident, now: float, zone: tzinfo) -> str:
    closed = incident.closed_at is not None
    word = "RESOLVED" if closed else str(incident.severity).upper()
    until = incident.closed_at if incident.closed_at is not None else now
    lasted = duration(until - incident.opened_at)
    return (
        f"{word} · cluster {incident.cluster} · {subject_words(incident.subject)} · "
        f"since {clock(incident.opened_at, zone)} ({lasted})"
    )


def _wrapped(text: str, indent: str = "", first: str | None = None) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [c.ljust(w) for c, w in zip(cells, widths, strict=True)]
    return "  ".join(padded).rstrip()


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]


def _why(finding: Finding) -> Iterator[str]:
    head, words = "Why we think so", confidence_words(finding)
    yield head + words.rjust(max(len(words) + 2, WIDTH - len(head)))
    rows = [(f"{i:>2}", e.ask, e.answer, age_words(e)) for i, e in enumerate(finding.evidence, 1)]
    if rows:
        widths = _widths(rows)
        yield from (_row(row, widths) for row in rows)
    if finding.refuted:
        yield from _wrapped(" · ".join(dict.fromkeys(finding.refuted)), " " * 16, "    Ruled out   ")


def age_words(evidence: Evidence) -> str:
    return "" if evidence.age is None else f"{duration(evidence.age)} old"


def _unknowns(finding: Finding) -> Iterator[str]:
    if finding.unknowns:
        yield ""
        yield "Not known"
        for note in dict.fromkeys(finding.unknowns):
            yield from _wrapped(note, "    ")


def _actions(actions: Sequence[Action]) -> Iterator[str]:
    if not actions:
        return
    yield ""
    yield "Do this"
    for i, action in enumerate(actions, 1):
        yield f"{i:>2}  {action.title}"
        yield f"      {action.command}"
        remarks = [("risk", action.risk), ("undo", action.undo), ("watch", action.watch)]
        for name, note in remarks:
            if note:
                yield from _wrapped(note, " " * 13, f"      {name:<5}  ")


def _explains(incident: Incident) -> Iterator[str]:
    if incident.rules:
        n = len(incident.rules)
        yield f"Explains {n} alert{'' if n == 1 else 's'}: {', '.join(incident.rules)}"


def _history(incident: Incident, zone: tzinfo) -> Iterator[str]:
    if incident.history:
        said = " · ".join(f"{clock(at, zone)} {what}" for at, what in incident.history[-8:])
        yield from _wrapped(said, " " * 9, "History  ")


# --- for notifications ----------------------------------------------------------------------------------------------------------------------


def rfc3339(at: float) -> str:
    """Unix seconds as programs read them, in UTC to the millisecond."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def notes(incident: Incident, url: str = "", dashboard_url: str = "") -> dict[str, str]:
    """What goes with an alert to Alertmanager; empty ones are left out. ``url`` is the incident's own page."""
    finding = incident.finding
    said = {
        "summary": incident.summary,
        "explains": ", ".join(incident.rules),
        "stands_for": "\n".join(_first(incident.stands_for)),
    }
    if finding is not None:
        said |= {
            "cause": finding.says,
            "confidence": confidence_words(finding),
            "impact": finding.impact,
            "evidence": evidence_words(finding),
            "first_command": finding.do[0].command if finding.do else "",
            "unknowns": "\n".join(dict.fromkeys(finding.unknowns)),
        }
    said |= {"runbook_url": url, "dashboard_url": dashboard_url}
    return {name: text for name, text in said.items() if text}


def _first(lines: Sequence[str]) -> Sequence[str]:
    """So many that a mail or a chat message holds them; the incident's page has all."""
    return lines if len(lines) <= MOST_LINES else [*lines[:MOST_LINES], "and more, which its page names"]


def evidence_words(finding: Finding) -> str:
    """One line per question: ``1. Who …? broker 2: 81 of 81 (2 s old)``."""
    lines = []
    for i, evidence in enumerate(finding.evidence, 1):
        age = age_words(evidence)
        lines.append(f"{i}. {evidence.ask} {evidence.answer}" + (f" ({age})" if age else ""))
    return "\n".join(lines)
