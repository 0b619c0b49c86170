"""How much a token may ask: a budget that refills evenly, exact across processes.

One number is stored per token: the moment at which its budget is whole again.
A request moves it on by the price of one, in one conditional UPDATE that
succeeds only while there is something left. Nothing is read first, so no two
processes spend the same request.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from django.conf import settings
from django.db import connection

from vpspanel.accounts.models import ApiToken

HOUR = 3600 * 1_000_000  # microseconds
# In SQL, because it is a part of every request: Django takes longer to write it than databases
# to do it. (SQLite and PostgreSQL know the larger of two numbers by different names.)
SPEND = (
    f"UPDATE {ApiToken._meta.db_table} SET budget_full_at = "  # noqa: S608 - no foreign text
    "CASE WHEN budget_full_at < %s THEN %s ELSE budget_full_at END + %s "
    "WHERE id = %s AND budget_full_at <= %s"
)
HEADERS = {
    "RateLimit-Limit": "Requests an hour.",
    "RateLimit-Remaining": "How many of them are left.",
    "RateLimit-Reset": "When all of them are back, in Unix seconds.",
}


@dataclass(frozen=True, slots=True)
class Budget:
    """What the headers of an answer say."""

    limit: int
    remaining: int
    reset: int  # Unix seconds: when it is whole again
    wait: int = 0  # seconds until there is something again; 0 if there is


def look(token: ApiToken, *, now: int | None = None) -> Budget:
    """The budget as the token's row showed it, without spending."""
    return _budget(token.budget_full_at, now or _now())


def spend(token: ApiToken, *, now: int | None = None) -> Budget:
    """Take one request of the budget; its `wait` is not 0 if nothing was left."""
    now = now or _now()
    price = HOUR // settings.API_REQUESTS_PER_HOUR
    with connection.cursor() as cursor:
        cursor.execute(SPEND, [now, now, price, token.pk, now + HOUR - price])
        taken = cursor.rowcount
    if taken:
        return _budget(max(token.budget_full_at, now) + price, now)
    token.refresh_from_db(fields=["budget_full_at"])
    wait = -(-(token.budget_full_at + price - now - HOUR) // 1_000_000)
    budget = _budget(token.budget_full_at, now)
    return Budget(budget.limit, 0, budget.reset, max(1, wait))


def _budget(full_at: int, now: int) -> Budget:
    limit = settings.API_REQUESTS_PER_HOUR
    left = max(0, now + HOUR - max(full_at, now)) // (HOUR // limit)
    return Budget(limit, min(limit, left), -(-max(full_at, now) // 1_000_000))


def _now() -> int:
    return time.time_ns() // 1000
