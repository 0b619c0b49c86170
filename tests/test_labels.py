"""Labels and their selectors: what is one, what is not, and what it selects."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpspanel.errors import Refused
from vpspanel.labels import (
    KEY_PATTERN,
    MAX_LABELS,
    SELECTOR_PATTERN,
    VALUE_PATTERN,
    check_labels,
    parse_selector,
)

LABELS = {"env": "prod", "tier": "", "example.com/team": "a.b-c_d"}


@pytest.mark.parametrize(
    "labels",
    [
        {},
        LABELS,
        {"a" * 63: "b" * 63},
        {f"{'a' * 63}.{'b' * 63}.example/k": "v"},
        {"1": "2"},
        {str(number): "" for number in range(MAX_LABELS)},
    ],
)
def test_labels_are_accepted(labels: dict[str, str]) -> None:
    assert check_labels(labels) == labels


@pytest.mark.parametrize(
    "labels",
    [
        None,
        [],
        "env=prod",
        {"": "v"},
        {"a" * 64: "v"},
        {"-a": "v"},
        {"a-": "v"},
        {"a b": "v"},
        {"a\n": "v"},
        {"ä": "v"},
        {"/a": "v"},
        {"a/": "v"},
        {"a/b/c": "v"},
        {"Upper.example/k": "v"},
        {f"{'a' * 63}.{'b' * 63}.{'c' * 63}.{'d' * 63}/k": "v"},
        {"k": "v" * 64},
        {"k": "-v"},
        {"k": "a b"},
        {"k": "v\n"},
        {"k": None},
        {"k": 1},
        {"k": {"nested": "v"}},
        {1: "v"},
        {str(number): "" for number in range(MAX_LABELS + 1)},
    ],
)
def test_other_things_are_refused(labels: object) -> None:
    with pytest.raises(Refused) as refused:
        check_labels(labels)
    assert (refused.value.code, refused.value.field) == ("invalid_input", "labels")


@pytest.mark.parametrize(
    "selector",
    [
        "",
        "  ",
        "env",
        "!missing",
        "! missing",
        "env=prod",
        "env == prod",
        "env!=test",
        "missing!=x",
        "tier=",
        "tier==,env",
        "env in (prod,test)",
        "env in(prod)",
        "env notin (test)",
        "missing notin (a, b)",
        "tier in ()",
        "env,!missing,example.com/team=a.b-c_d",
    ],
)
def test_selected(selector: str) -> None:
    assert parse_selector(selector).matches(LABELS)


@pytest.mark.parametrize(
    "selector",
    [
        "missing",
        "!env",
        "env=test",
        "env!=prod",
        "missing=x",
        "missing=",
        "env in (test)",
        "missing in (a)",
        "missing in ()",
        "env notin (prod, test)",
        "env,missing",
    ],
)
def test_not_selected(selector: str) -> None:
    assert not parse_selector(selector).matches(LABELS)


def test_a_key_may_be_called_in() -> None:
    assert parse_selector("in in (in)").matches({"in": "in"})


@pytest.mark.parametrize(
    "selector",
    [
        ",",
        "env,",
        ",env",
        "env,,tier",
        "env prod",
        "env = = prod",
        "=prod",
        "!",
        "!!env",
        "!env=prod",
        "env in prod",
        "env in (prod",
        "env in prod)",
        "env in ((prod))",
        "env notin",
        "env=-x",
        "env=a/b",
        "a/b/c",
        "env='prod'",
        "env>1",
        "x" * 5000,
    ],
)
def test_no_selector(selector: str) -> None:
    with pytest.raises(Refused) as refused:
        parse_selector(selector)
    assert (refused.value.code, refused.value.field) == ("invalid_input", "label_selector")


@given(st.text(alphabet="abin!=(), -./ÄnotX\n", max_size=40))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    with contextlib.suppress(Refused):
        parse_selector(text).matches(LABELS)


SIGNS = [
    "a",
    "b-c",
    "in",
    "notin",
    "x.y/k",
    "-",
    "=",
    "==",
    "!=",
    "!",
    "(",
    ")",
    ",",
    " ",
    "\t",
    "\n",
]


@given(st.lists(st.sampled_from(SIGNS), max_size=9).map("".join) | st.from_regex(SELECTOR_PATTERN))
def test_the_pattern_that_programs_read_is_the_grammar(text: str) -> None:
    accepted = True
    try:
        parse_selector(text)
    except Refused:
        accepted = False
    assert accepted == (re.fullmatch(SELECTOR_PATTERN[1:-1], text) is not None)


@given(st.text("aZ09-_./:", max_size=6), st.text("aZ09-_./:", max_size=6))
def test_the_patterns_of_keys_and_values_are_the_grammar(key: str, value: str) -> None:
    accepted = True
    try:
        check_labels({key: value})
    except Refused:
        accepted = False
    matches = re.fullmatch(KEY_PATTERN, key) and re.fullmatch(VALUE_PATTERN, value)
    assert accepted == (matches is not None)
