"""Small shapes and values that others are made of."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TypedDict

from django.conf import settings

from vpspanel.servers.models import MICROS

GIB = 1024**3

Labels = dict[str, str]


class Money(TypedDict):
    """An amount as text, without and with tax; the panel adds no tax yet."""

    net: str
    gross: str


class PricedMoney(Money):
    """An amount that also says in what."""

    currency: str


class Deprecation(TypedDict):
    """Since when it is announced that something ends, and when it does."""

    announced: str
    unavailable_after: str


def moment(at: datetime) -> str:
    """RFC 3339, in UTC, to the second."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00")


def moment_or_none(at: datetime | None) -> str | None:
    """The same, where a time may be missing."""
    return None if at is None else moment(at)


def amount(micros: int) -> str:
    """Millionths of the currency unit as a decimal number."""
    return f"{micros // MICROS}.{micros % MICROS:06d}"


def money(micros: int) -> Money:
    """A price."""
    return Money(net=amount(micros), gross=amount(micros))


def priced(micros: int) -> PricedMoney:
    """A price that names its currency."""
    return PricedMoney(net=amount(micros), gross=amount(micros), currency=settings.CURRENCY)


def deprecation(at: datetime | None) -> Deprecation | None:
    """What is deprecated can no longer be bought from that moment on."""
    return None if at is None else Deprecation(announced=moment(at), unavailable_after=moment(at))
