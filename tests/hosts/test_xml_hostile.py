"""Whatever text comes in: one text node of a valid document, or a refusal."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from hosts.virt import xml
from hosts.virt.spec import DomainSpec
from tests.hosts.test_xml_golden import DISK, DOMAIN, NIC, schema

ANY_TEXT = st.text(st.characters(), max_size=300)  # surrogates and controls among them
GRAMMAR = schema("domain")

HOSTILE = (
    "<script>alert('x')</script>",
    "</title><devices><hostdev/></devices><title>",
    "]]> &amp; &#0; &lt; \"quoted\" 'too'",
    "\u202egnp.exe\u202c \u200fright to left\u200e",
    "{{7*7}} ${7*7} %s %(a)s",
    "zero\0byte",
    "\x1b[31mred",
    "line\r\nline",
    "\ud800",
    "\ufffe",
    "x" * 10_240,
    "ü" * 10_240,
    " leading and trailing ",
)


def build(spec: DomainSpec) -> etree._Element | None:
    """The parsed document, or None if the spec was refused."""
    try:
        document = xml.domain_xml(spec)
    except ValueError:
        return None
    # As libvirt does: bytes of UTF-8 into a parser that knows nothing of us.
    return etree.fromstring(document.encode())


def shape(root: etree._Element) -> list[str]:
    return [str(element.tag) for element in root.iter()]


PLAIN = build(replace(DOMAIN, title="x", metadata={"server": "x"}))


@settings(max_examples=300, deadline=None)
@given(ANY_TEXT)
def test_a_title_is_one_text_node_or_refused(text: str) -> None:
    root = build(replace(DOMAIN, title=text))
    if root is None:
        return
    assert (root.findtext("title") or "") == text
    assert GRAMMAR.validate(root), str(GRAMMAR.error_log)


@settings(max_examples=300, deadline=None)
@given(ANY_TEXT)
def test_a_metadata_value_is_one_text_node_or_refused(text: str) -> None:
    root = build(replace(DOMAIN, title="x", metadata={"server": text}))
    if root is None:
        return
    assert (root.findtext(f".//{{{xml.NAMESPACE}}}entry") or "") == text
    assert PLAIN is not None
    assert shape(root) == shape(PLAIN)
    assert GRAMMAR.validate(root), str(GRAMMAR.error_log)


@settings(max_examples=300, deadline=None)
@given(ANY_TEXT)
def test_names_are_written_exactly_or_refused(text: str) -> None:
    disk, nic = replace(DISK, pool=text, volume=text), replace(NIC, network=text, filter_name=text)
    for change in (
        {"name": text},
        {"disks": (disk,)},
        {"nics": (nic,)},
        {"metadata": {text: "1"}},
    ):
        root = build(replace(DOMAIN, title="", **change))
        if root is not None:
            assert GRAMMAR.validate(root), str(GRAMMAR.error_log)
            assert "/" not in text
            assert text.isascii()


def test_the_known_attacks() -> None:
    """The same for what attackers have tried elsewhere, without luck being involved."""
    refused = []
    for text in HOSTILE:
        root = build(replace(DOMAIN, title=text, metadata={"server": text}))
        if root is None:
            refused.append(text)
            continue
        assert root.findtext("title") == text
        assert root.findtext(f".//{{{xml.NAMESPACE}}}entry") == text
        assert PLAIN is not None
        assert shape(root) == shape(PLAIN)
        assert GRAMMAR.validate(root), str(GRAMMAR.error_log)
    assert refused == ["zero\0byte", "\x1b[31mred", "line\r\nline", "\ud800", "\ufffe"]
