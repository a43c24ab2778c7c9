"""Decision trees: what a tree file may say, and loading with every fault listed at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, TypeAlias

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from alerts.diagnosis.inputs import name_faults
from alerts.diagnosis.template import Command, Template, TemplateError
from alerts.model import Severity
from alerts.promql.errors import PromqlError
from alerts.promql.parse import parse
from alerts.promql.questions import variables
from alerts.promql.syntax import Expr

SHIPPED = Path(__file__).parent.parent / "trees"
"""The trees that come with Klaxon."""

HEALED = "already-healed"
UNKNOWN = "unknown"
BUILT_IN_CAUSES = frozenset({HEALED, UNKNOWN})
"""Causes that every tree has: the trouble is over; the tree could not tell."""

ALWAYS_BOUND = frozenset({"cluster", "bootstrap"})
RESULT_FACTS = frozenset({"value", "count"})
"""In a step's own sentences: the worst value and how many series were found."""

_DESTROYS = re.compile(
    r"unclean|kafka-delete-records|--delete(?!-config)|kafka-storage\S* format|(^|\s)rm\s|--reset-offsets.*--execute|unregister|force-terminate"
)


class TreeError(ValueError):
    """Trees that cannot be used; ``faults`` has one sentence per fault: file, place in it, and what would be right."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


# --- what a file may say ------------------------------------------------------------------------------------------------------------------


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Branch(_Strict):
    """Where a verdict leads: a step (a plain name will do), another tree with what is bound so far, or a cause. ``low`` says why that cause is not sure."""

    step: str | None = None
    tree: str | None = None
    cause: str | None = None
    low: str | None = None


class UnknownBranch(_Strict):
    """What to do by hand when a step has no data and how to read it; ``then`` is the step to go on with."""

    manual: str
    reading: str
    then: str | None = None


def _named(value: Any) -> Any:
    return {"step": value} if isinstance(value, str) else value


def _listed(value: Any) -> Any:
    return [
        {"say": item} if isinstance(item, str) else item for item in (value if isinstance(value, list) else [value])
    ]


class Sentence(_Strict):
    """One sentence; with ``if`` only when that fact is not zero, with ``unless`` only when it is known to be zero (or to have no names)."""

    say: str
    if_: str | None = Field(None, alias="if")
    unless: str | None = None


BranchField: TypeAlias = Annotated[Branch, BeforeValidator(_named)]
Sentences: TypeAlias = Annotated[list[Sentence], BeforeValidator(_listed)]


class Step(_Strict):
    """One question. ``found``: the expression has a result; ``none``: it has none though every input is there and younger than the alert.

    ``each`` goes on once per value of that label. ``before`` asks about the world before the fault, so old and missing inputs do not matter.
    ``partial``: what is found counts though other sources of the same collector are silent.
    """

    ask: str
    expr: str
    found: BranchField
    none: BranchField
    unknown: UnknownBranch | None = None
    each: str | None = None
    before: bool = False
    partial: bool = False
    answers: dict[str, str] = {}
    rules_out: dict[str, str] = {}


class Fact(_Strict):
    """A number (or with ``label`` the names) for sentences. ``is`` says what it is when it has no data; ``empty`` is its value when nothing is found.

    ``host`` cuts the port off names that are addresses.
    """

    is_: str = Field(alias="is")
    expr: str
    label: str | None = None
    host: bool = False
    empty: float | int | None = None
    before: bool = False


class Do(_Strict):
    """One thing to do; with ``each`` once for every name of that fact (five at most), which stands as ``$each``."""

    each: str | None = None
    title: str
    command: str
    risk: str
    undo: str = ""
    watch: str = ""


class Cause(_Strict):
    """A leaf. ``problems`` are the incidents whose cause this may be, the first one names a new incident; ``critical_when`` raises it by impact.

    ``headline`` is the first of its sentences that holds and whose numbers are known.
    """

    problems: list[str] = Field(min_length=1)
    subject: str
    headline: Sentences
    says: Sentences
    impact: Sentences
    explains: list[str] = []
    do: list[Do] = Field(min_length=1)
    verify: str
    severity: str | None = None
    critical_when: str | None = None


class TreeFile(_Strict):
    tree: str
    title: str
    serves: list[str]
    given: list[str] = ["cluster"]
    facts: dict[str, Fact] = {}
    steps: dict[str, Step] = Field(min_length=1)
    causes: dict[str, Cause] = {}


# --- what is walked -----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tree:
    """A checked tree: its file with every expression parsed."""

    file: TreeFile
    exprs: Mapping[str, Expr]
    """Text of an expression -> its tree."""

    @property
    def name(self) -> str:
        return self.file.tree

    @property
    def first(self) -> str:
        return next(iter(self.file.steps))


@dataclass(frozen=True, slots=True)
class Trees:
    """All trees by name. ``serving`` leads from a rule's name to its tree."""

    by_name: Mapping[str, Tree]

    def serving(self, rule: str) -> Tree | None:
        return next((t for t in self.by_name.values() if rule in t.file.serves), None)

    def for_alert(self, rule: str, labels: Mapping[str, str]) -> Tree | None:
        """The tree that the rule's label ``tree`` names, else the one that serves the rule."""
        return self.by_name.get(labels.get("tree", "")) or self.serving(rule)

    @property
    def expressions(self) -> tuple[Expr, ...]:
        """Everything the trees may ask, with unbound ``$names``: what History has to keep."""
        return tuple(dict.fromkeys(e for t in self.by_name.values() for e in t.exprs.values()))


def load(paths: Iterable[Path] = (SHIPPED,), rules: Iterable[str] | None = None) -> Trees:
    """Read every ``*.yaml`` of these files and folders. Raises TreeError with all faults.

    With ``rules``, the names of the alerting rules, a tree that serves none that exists is a fault too.
    """
    files = [f for p in paths for f in (sorted(p.glob("*.yaml")) if p.is_dir() else [p])]
    return parse_trees(((f.name, f.read_text(encoding="utf-8")) for f in files), rules)


def parse_trees(texts: Iterable[tuple[str, str]], rules: Iterable[str] | None = None) -> Trees:
    """Trees from (file name, YAML text) pairs; see ``load``."""
    faults: list[str] = []
    files: dict[str, tuple[str, TreeFile]] = {}
    for name, text in texts:
        tree = _read(name, text, faults)
        if tree is None:
            continue
        if tree.tree in files:
            faults.append(f"{name}: tree: {tree.tree!r} is also in {files[tree.tree][0]}; names must differ")
        files[tree.tree] = (name, tree)
    trees = {t: f for t, (_, f) in files.items()}
    known_rules = None if rules is None else frozenset(rules)
    for name, tree in files.values():
        faults += [f"{name}: {fault}" for fault in _Check(tree, trees, known_rules).faults()]
    faults += _shared_faults(files)
    if faults:
        raise TreeError(faults)
    return Trees(MappingProxyType({t: Tree(f, _parsed(f)) for t, f in trees.items()}))


def _read(name: str, text: str, faults: list[str]) -> TreeFile | None:
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        faults.append(f"{name}: not YAML: {error}")
        return None
    if not isinstance(raw, dict):
        faults.append(f"{name}: must be a mapping with the keys tree, title, serves, steps, causes")
        return None
    try:
        return TreeFile.model_validate(raw)
    except ValidationError as error:
        faults += [f"{name}: {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        return None


def _expressions(tree: TreeFile) -> Iterator[tuple[str, str]]:
    """Every expression with the place where it stands."""
    yield from ((f"steps.{n}.expr", s.expr) for n, s in tree.steps.items())
    yield from ((f"facts.{n}.expr", f.expr) for n, f in tree.facts.items())
    for name, cause in tree.causes.items():
        yield f"causes.{name}.verify", cause.verify
        if cause.critical_when is not None:
            yield f"causes.{name}.critical_when", cause.critical_when


def _parsed(tree: TreeFile) -> Mapping[str, Expr]:
    return MappingProxyType({text: parse(text) for _, text in _expressions(tree)})


# --- checking -----------------------------------------------------------------------------------------------------------------------------

Bound: TypeAlias = frozenset[str]


class _Check:
    """All that can be wrong in one tree whose form is right."""

    def __init__(self, tree: TreeFile, trees: Mapping[str, TreeFile], rules: frozenset[str] | None) -> None:
        self.tree = tree
        self.trees = trees
        self.rules = rules

    def faults(self) -> Iterator[str]:
        yield from self._rules()
        exprs: dict[str, Expr] = {}
        yield from self._expressions(exprs)
        broken = list(self._targets())
        yield from broken
        yield from self._texts()
        if broken:
            return
        if cycle := _cycle(self.tree):
            yield f"steps.{cycle[0]}: leads back to itself ({' -> '.join(cycle)}); a walk must end"
            return
        yield from self._reach(exprs)

    def _rules(self) -> Iterator[str]:
        if self.rules is not None:
            for rule in self.tree.serves:
                if rule not in self.rules:
                    yield f"serves: there is no rule {rule!r}"

    def _expressions(self, exprs: dict[str, Expr]) -> Iterator[str]:
        for place, text in _expressions(self.tree):
            try:
                exprs[text] = parse(text)
            except PromqlError as error:
                yield f"{place}: {error}"
                continue
            yield from (f"{place}: {fault}" for fault in name_faults(exprs[text]))

    def _targets(self) -> Iterator[str]:
        for name, step in self.tree.steps.items():
            for verdict, branch in (("found", step.found), ("none", step.none)):
                yield from (f"steps.{name}.{verdict}: {fault}" for fault in self._branch(branch))
            if step.unknown is not None and step.unknown.then is not None and step.unknown.then not in self.tree.steps:
                yield f"steps.{name}.unknown.then: there is no step {step.unknown.then!r}"
            for key in (*step.answers, *step.rules_out):
                if key not in ("found", "none"):
                    yield f"steps.{name}: {key!r} is no verdict that has a sentence; use found or none"
        for name, cause in self.tree.causes.items():
            if name in BUILT_IN_CAUSES:
                yield f"causes.{name}: this cause is built in; give another name"
            if cause.severity is not None and cause.severity not in list(Severity):
                yield f"causes.{name}.severity: {cause.severity!r} is none of {', '.join(Severity)}"

    def _branch(self, branch: Branch) -> Iterator[str]:
        given = [t for t in (branch.step, branch.tree, branch.cause) if t is not None]
        if len(given) != 1:
            yield "name one target: a step, {tree: …} or {cause: …}"
        if branch.step is not None and branch.step not in self.tree.steps:
            yield f"there is no step {branch.step!r}"
        if branch.tree is not None and (branch.tree not in self.trees or branch.tree == self.tree.tree):
            yield f"there is no other tree {branch.tree!r}"
        if branch.cause is not None and branch.cause not in self.tree.causes and branch.cause not in BUILT_IN_CAUSES:
            yield f"there is no cause {branch.cause!r}"

    def _texts(self) -> Iterator[str]:
        for place, _, text in self._templates():
            try:
                text()
            except TemplateError as error:
                yield f"{place}: {error}"
        for name, cause in self.tree.causes.items():
            yield from self._commands(name, cause)

    def _commands(self, name: str, cause: Cause) -> Iterator[str]:
        destroyed = False
        for i, do in enumerate(cause.do):
            destroys = _DESTROYS.search(do.command) is not None
            if destroys and do.title.split()[0] != "DESTROYS":
                yield f"causes.{name}.do.{i}.title: the command may destroy data, so its title must begin with DESTROYS"
            if destroyed and not destroys:
                yield f"causes.{name}.do.{i}: comes after a command that destroys data; safe ones come first"
            destroyed = destroyed or destroys

    def _templates(self) -> Iterator[tuple[str, tuple[str, str], Callable[[], Template | Command]]]:
        """(place, (kind, name of step or cause), parse) of every text with gaps."""

        def template(text: str) -> Callable[[], Template]:
            return lambda: Template.parse(text)

        def command(text: str) -> Callable[[], Command]:
            return lambda: Command.parse(text)

        for name, step in self.tree.steps.items():
            at = ("step", name)
            yield f"steps.{name}.ask", at, template(step.ask)
            for key, group in (("answers", step.answers), ("rules_out", step.rules_out)):
                for verdict, text in group.items():
                    yield f"steps.{name}.{key}.{verdict}", at, template(text)
            for verdict, branch in (("found", step.found), ("none", step.none)):
                if branch.low is not None:
                    yield f"steps.{name}.{verdict}.low", at, template(branch.low)
            if step.unknown is not None:
                yield f"steps.{name}.unknown.manual", at, command(step.unknown.manual)
                yield f"steps.{name}.unknown.reading", at, template(step.unknown.reading)
        for name, cause in self.tree.causes.items():
            at = ("cause", name)
            yield f"causes.{name}.subject", at, template(cause.subject)
            for key, sentences in _sentences(cause):
                for i, sentence in enumerate(sentences):
                    yield f"causes.{name}.{key}.{i}", at, template(sentence.say)
            for i, do in enumerate(cause.do):
                yield f"causes.{name}.do.{i}.command", at, command(do.command)
                for key in ("title", "risk", "undo", "watch"):
                    yield f"causes.{name}.do.{i}.{key}", at, template(getattr(do, key))

    # --- what is bound where

    def _reach(self, exprs: Mapping[str, Expr]) -> Iterator[str]:
        steps, causes = _bound(self.tree)
        for name in self.tree.steps:
            if name not in steps:
                yield f"steps.{name}: no step leads here"
        for name in self.tree.causes:
            if name not in causes:
                yield f"causes.{name}: no step leads here"
        yield from self._bound_expressions(exprs, steps, causes)
        yield from self._bound_texts(exprs, steps, causes)
        yield from self._bound_trees(steps)

    def _bound_expressions(
        self, exprs: Mapping[str, Expr], steps: Mapping[str, Bound], causes: Mapping[str, Bound]
    ) -> Iterator[str]:
        for name, step in self.tree.steps.items():
            if name in steps and step.expr in exprs:
                yield from _unbound(f"steps.{name}.expr", variables(exprs[step.expr]), steps[name])
        for name, cause in self.tree.causes.items():
            for key, text in (("verify", cause.verify), ("critical_when", cause.critical_when)):
                if text is not None and text in exprs and name in causes:
                    yield from _unbound(f"causes.{name}.{key}", variables(exprs[text]), causes[name])

    def _bound_texts(
        self, exprs: Mapping[str, Expr], steps: Mapping[str, Bound], causes: Mapping[str, Bound]
    ) -> Iterator[str]:
        used: set[str] = set()
        for place, (kind, owner), text in self._templates():
            bound = (steps if kind == "step" else causes).get(owner)
            if bound is None:
                continue
            step = self.tree.steps[owner] if kind == "step" else None
            if step is not None and step.each is not None and ".none" not in place:
                bound = bound | {step.each} if ".found" in place else bound
            if ".do." in place and self.tree.causes[owner].do[int(place.split(".")[3])].each is not None:
                bound = bound | {"each"}
            try:
                gaps = text()
            except TemplateError:
                continue
            yield from _unbound(place, gaps.names, bound)
            needed = gaps.facts - (RESULT_FACTS if step is not None else frozenset())
            used |= needed
            yield from self._facts(place, needed, exprs, bound)
        for name, cause in self.tree.causes.items():
            conditions = {do.each for do in cause.do if do.each is not None}
            used |= conditions
            yield from self._facts(f"causes.{name}.do", conditions, exprs, causes.get(name, frozenset()))
            for key, sentences in _sentences(cause):
                conditions = {c for s in sentences for c in (s.if_, s.unless) if c is not None}
                used |= conditions
                yield from self._facts(f"causes.{name}.{key}", conditions, exprs, causes.get(name, frozenset()))
        for name in self.tree.facts:
            if name not in used:
                yield f"facts.{name}: no sentence uses it"

    def _facts(self, place: str, names: Iterable[str], exprs: Mapping[str, Expr], bound: Bound) -> Iterator[str]:
        for name in sorted(names):
            fact = self.tree.facts.get(name)
            if fact is None:
                yield f"{place}: there is no fact {name!r} (there are {', '.join(self.tree.facts) or 'none'})"
            elif fact.expr in exprs:
                needed = variables(exprs[fact.expr]) | Template.parse(fact.is_).names
                yield from _unbound(f"{place}: fact {name}", needed, bound)

    def _bound_trees(self, steps: Mapping[str, Bound]) -> Iterator[str]:
        for name, step in self.tree.steps.items():
            for verdict, branch in (("found", step.found), ("none", step.none)):
                if branch.tree is None or name not in steps:
                    continue
                bound = steps[name] | ({step.each} if step.each and verdict == "found" else set())
                for label in self.trees[branch.tree].given:
                    if label not in bound:
                        yield f"steps.{name}.{verdict}: tree {branch.tree!r} needs ${label}, which is not bound here"


def _sentences(cause: Cause) -> tuple[tuple[str, list[Sentence]], ...]:
    return (("headline", cause.headline), ("says", cause.says), ("impact", cause.impact))


def _unbound(place: str, names: Iterable[str], bound: Bound) -> Iterator[str]:
    for name in sorted(set(names) - bound):
        yield f"{place}: ${name} is not bound here (bound: {', '.join(f'${b}' for b in sorted(bound))})"


def _branches(step: Step) -> Iterator[tuple[str, Branch]]:
    yield "found", step.found
    yield "none", step.none
    if step.unknown is not None and step.unknown.then is not None:
        yield "unknown", Branch(step=step.unknown.then)


def _cycle(tree: TreeFile) -> list[str] | None:
    """A way from a step back to itself."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str] | None:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return None
        for _, branch in _branches(tree.steps[name]):
            if branch.step is not None and (found := visit(branch.step, [*path, name])):
                return found
        done.add(name)
        return None

    return next((c for name in tree.steps if (c := visit(name, []))), None)


def _bound(tree: TreeFile) -> tuple[dict[str, Bound], dict[str, Bound]]:
    """Names that are bound at every reachable step and cause, on whatever way one comes there."""
    steps: dict[str, Bound] = {}
    causes: dict[str, Bound] = {}
    ways = [(next(iter(tree.steps)), frozenset(tree.given) | ALWAYS_BOUND)]
    while ways:
        name, bound = ways.pop()
        if name in steps and steps[name] <= bound:
            continue
        steps[name] = bound = steps.get(name, bound) & bound
        step = tree.steps[name]
        for verdict, branch in _branches(step):
            after = bound | {step.each} if step.each is not None and verdict == "found" else bound
            if branch.step is not None:
                ways.append((branch.step, after))
            elif branch.cause is not None:
                causes[branch.cause] = causes.get(branch.cause, after) & after
    return steps, causes


def _shared_faults(files: Mapping[str, tuple[str, TreeFile]]) -> Iterator[str]:
    """What can be wrong between trees: a rule with two trees, a cause of two trees, trees that lead into each other."""
    rules: dict[str, str] = {}
    causes: dict[str, str] = {}
    for name, tree in files.values():
        for kind, key, known, items in (
            ("serves", "rule", rules, tree.serves),
            ("causes", "cause", causes, tree.causes),
        ):
            for item in items:
                if item in known:
                    yield f"{name}: {kind}: {key} {item!r} is also in {known[item]}"
                known[item] = name
    leads = {
        t: {b.tree for s in f.steps.values() for _, b in _branches(s) if b.tree in files} for t, (_, f) in files.items()
    }
    for start in sorted(leads):
        reached, todo = set[str](), [*leads[start]]
        while todo:
            tree_name = todo.pop() or ""
            if tree_name not in reached:
                reached.add(tree_name)
                todo += leads[tree_name]
        if start in reached:
            yield f"{files[start][0]}: tree {start!r} leads back to itself through other trees; a walk must end"
