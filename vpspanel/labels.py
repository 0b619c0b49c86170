"""Labels and label selectors, as hcloud clients write them. Pure.

A label is `key: value`. A key is `name` or `prefix/name`, where the prefix is a
DNS name; a value may be empty. A selector is a list of conditions, all of
which must hold: `k`, `!k`, `k=v`, `k==v`, `k!=v`, `k in (a,b)`, `k notin (a,b)`.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from vpspanel.errors import Refused

MAX_LABELS = 64
MAX_SELECTOR = 4096
_NAME_LENGTH, _PREFIX_LENGTH = 63, 253

_WORD = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_DNS = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_SPACE = re.compile(r"[ \t]*")
_TOKEN = re.compile(r"[A-Za-z0-9._/-]+|==|!=|[=!(),]")


def _patterns() -> tuple[str, str, str]:
    """The grammar of keys, values and selectors in one expression each, for programs to read."""
    word = "[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
    dns = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
    key, space = f"({dns}([.]{dns})*/)?{word}", "[ \\t]*"
    # A space is matched in one way only, or matching would take exponential time.
    value = f"{space}({word}{space})?"
    equal = f"{space}(=|==|!=){value}"
    among = f"[ \\t]+(in|notin){space}[(]{value}(,{value})*[)]{space}"
    condition = f"(!{space}{key}{space}|{key}({equal}|{among}|{space}))"
    selector = f"{space}({condition}(,{space}{condition})*)?"
    return f"^{key}$", f"^({word})?$", f"^{selector}$"


KEY_PATTERN, VALUE_PATTERN, SELECTOR_PATTERN = _patterns()


class Test(enum.Enum):
    """What a condition asks of the value of its key."""

    EXISTS = "exists"
    MISSING = "missing"
    IN = "in"
    NOT_IN = "not in"


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition. A key that is not there satisfies MISSING and NOT_IN."""

    key: str
    test: Test
    values: frozenset[str] = frozenset()

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels satisfy it."""
        if self.test is Test.EXISTS:
            return self.key in labels
        if self.test is Test.MISSING:
            return self.key not in labels
        among = labels.get(self.key) in self.values
        return among if self.test is Test.IN else not among


@dataclass(frozen=True, slots=True)
class Selector:
    """Conditions, all of which must hold; without any, everything is selected."""

    conditions: tuple[Condition, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether something with these labels is selected."""
        return all(condition.holds(labels) for condition in self.conditions)


def check_labels(value: object) -> dict[str, str]:
    """The labels, if that is what they are. Raises `Refused` with what is wrong."""
    if not isinstance(value, Mapping):
        _refuse_labels("Labels are an object of keys and values.")
    if len(value) > MAX_LABELS:
        _refuse_labels(f"There may be {MAX_LABELS} labels; these are {len(value)}.")
    labels: dict[str, str] = {}
    for key, text in value.items():
        if not isinstance(key, str) or not _is_key(key):
            _refuse_labels(
                f"{_shown(key)} is no label key. A key has 1 to 63 letters, digits, '-', '_' and "
                "'.', begins and ends with a letter or digit, and may have a DNS name and '/' "
                "in front."
            )
        if not isinstance(text, str) or not _is_value(text):
            _refuse_labels(
                f"{_shown(text)} is no label value. A value is empty or has up to 63 letters, "
                "digits, '-', '_' and '.', and begins and ends with a letter or digit."
            )
        labels[key] = text
    return labels


def parse_selector(text: str) -> Selector:
    """The selector that the text spells. Raises `Refused` with what is wrong."""
    if len(text) > MAX_SELECTOR:
        _refuse_selector(f"it has more than {MAX_SELECTOR} characters")
    reader = _Reader(_tokens(text))
    conditions: list[Condition] = []
    while not reader.at_end:
        conditions.append(_condition(reader))
        if not reader.at_end:
            reader.take(",")
            if reader.at_end:
                _refuse_selector("it ends with a comma")
    return Selector(tuple(conditions))


# --- keys and values ----------------------------------------------------------


def _is_key(key: str) -> bool:
    prefix, slash, name = key.rpartition("/")
    if slash and (len(prefix) > _PREFIX_LENGTH or not _DNS.fullmatch(prefix)):
        return False
    return len(name) <= _NAME_LENGTH and _WORD.fullmatch(name) is not None


def _is_value(text: str) -> bool:
    return not text or (len(text) <= _NAME_LENGTH and _WORD.fullmatch(text) is not None)


def _shown(value: object) -> str:
    return repr(value)[:80]


def _refuse_labels(message: str) -> NoReturn:
    raise Refused("invalid_input", message, field="labels")


def _refuse_selector(why: str) -> NoReturn:
    raise Refused("invalid_input", f"This is no label selector: {why}.", field="label_selector")


# --- selectors ----------------------------------------------------------------


def _tokens(text: str) -> list[str]:
    """Words and signs, without the spaces between them."""
    tokens: list[str] = []
    at = _end_of_space(text, 0)
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            _refuse_selector(f"{_shown(text[at])} has no meaning in it")
        tokens.append(found.group())
        at = _end_of_space(text, found.end())
    return tokens


def _end_of_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


class _Reader:
    """The tokens one after the other."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._at = 0

    @property
    def at_end(self) -> bool:
        return self._at >= len(self._tokens)

    @property
    def next(self) -> str:
        """The next token, still to be taken; "" at the end."""
        return "" if self.at_end else self._tokens[self._at]

    def take(self, *wanted: str) -> str:
        """The next token, which must be one of these if any are named."""
        token = self.next
        if wanted and token not in wanted:
            _refuse_selector(
                f"{_shown(token) if token else 'its end'} stands where one of "
                f"{' '.join(wanted)} belongs"
            )
        self._at += 1
        return token

    def key(self) -> str:
        """The next token as a key."""
        if not _is_key(self.next):
            _refuse_selector(f"{_shown(self.next)} is no label key")
        return self.take()

    def value(self) -> str:
        """The next token as a value; nothing before a comma, a bracket or the end is "" as well."""
        if self.next in ("", ",", ")"):
            return ""
        if not _is_value(self.next):
            _refuse_selector(f"{_shown(self.next)} is no label value")
        return self.take()


def _condition(reader: _Reader) -> Condition:
    if reader.next == "!":
        reader.take()
        return Condition(reader.key(), Test.MISSING)
    key = reader.key()
    if reader.next in ("", ","):
        return Condition(key, Test.EXISTS)
    sign = reader.take("=", "==", "!=", "in", "notin")
    if sign in ("in", "notin"):
        return Condition(key, Test.IN if sign == "in" else Test.NOT_IN, _set(reader))
    test = Test.NOT_IN if sign == "!=" else Test.IN
    return Condition(key, test, frozenset({reader.value()}))


def _set(reader: _Reader) -> frozenset[str]:
    reader.take("(")
    values = {reader.value()}
    while reader.take(",", ")") == ",":
        values.add(reader.value())
    return frozenset(values)
