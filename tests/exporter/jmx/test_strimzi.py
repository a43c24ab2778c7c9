"""Every family that Strimzi's rules make of real nodes' beans is in the catalogue or left out for a reason that is written down."""

from __future__ import annotations

import pytest

from exporter.jmx.catalogue import families, shipped
from exporter.jmx.page import page_name
from exporter.jmx.strimzi import strimzi
from tests.exporter.jmx import strimzi_rules

VERSIONS = ("4.3.1", "3.9.1")
KNOWN = {f.name for f in families()}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_list_has_every_family_of_a_real_node(version: str) -> None:
    derived = strimzi_rules.families(strimzi_rules.seen_beans(version).items())
    assert len(derived) > 120
    assert derived - set(strimzi().families) == set()


@pytest.mark.parametrize("family", strimzi().families)
def test_each_is_read_or_explained(family: str) -> None:
    why = strimzi().why_not(family)
    assert (family in KNOWN) != (why is not None)


def test_every_exception_is_needed() -> None:
    given = {strimzi().why_not(family) for family in strimzi().families}
    for pattern, why in strimzi().exceptions:
        assert len(why) > 20
        assert why in given, pattern


@pytest.mark.parametrize("version", VERSIONS)
def test_named_beans_that_are_no_option_were_seen_on_a_real_node(version: str) -> None:
    """A misspelt bean would count as missing on every node."""
    seen = {_key(bean) for bean in strimzi_rules.seen_beans(version)}
    plan = shipped().plan(version)
    specs = [shipped().by_bean[request.bean] for request in plan.beans]
    named = [s.request.bean for s in specs if not s.optional and not s.request.is_pattern]
    assert [
        bean for bean in named if bean.startswith("kafka.") and _key(bean) not in seen and not _of_all(bean, seen)
    ] == []


def test_attributes_were_seen_on_a_real_node() -> None:
    seen = {_key(bean): attributes for bean, attributes in strimzi_rules.seen_beans("4.3.1").items()}
    found = [(spec, seen[_key(spec.request.bean)]) for spec in shipped().specs if _key(spec.request.bean) in seen]
    assert len(found) > 150
    for spec, given in found:
        assert {a.name for a in spec.request.attributes} - set(given) <= LATER, spec.request.bean


LATER = {"number-of-observers", "uncommitted-voter-change"}
"""On the quorum's leader only."""


def test_a_page_names_meters_in_percent_apart() -> None:
    names = {page_name(spec, column) for spec in shipped().specs for column in spec.columns}
    assert "kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent_oneminuterate" in names
    assert "kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent" not in names


def _key(bean: str) -> tuple[str, frozenset[str]]:
    domain, _, keys = bean.partition(":")
    return domain, frozenset(keys.split(","))


def _of_all(bean: str, seen: set[tuple[str, frozenset[str]]]) -> bool:
    """Whether a pattern that was seen holds the bean (request=* holds request=Produce)."""
    domain, keys = _key(bean)
    alike = {*keys, *(f"{key.partition('=')[0]}=*" for key in keys)}
    return any(d == domain and len(k) == len(keys) and k <= alike for d, k in seen)
