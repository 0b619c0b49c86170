"""From events to deliveries: each event is handed out once, however it was committed.

PostgreSQL numbers rows before they are committed, so numbers appear out of
order. The mark remembers those that were skipped and looks for them again for
half a minute; what is not there by then was rolled back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Min, Q, QuerySet
from django.utils import timezone

from vpspanel.accounts.models import Account, Project
from vpspanel.accounts.telling import account_of
from vpspanel.accounts.tree import CHAIN
from vpspanel.events.models import Event
from vpspanel.webhooks.message import wants
from vpspanel.webhooks.models import Delivery, Mark, Webhook

BATCH = 500
LATE_COMMIT = timedelta(seconds=30)
MISSING_LIMIT = 1000

OF_PROJECT = ("account_id", "account__parent_id", "account__parent__parent_id")
LOOKED_AT = ("pk", "kind", "project_id", "resource_type", "resource_id", "public")


def hand_out() -> int:
    """Queue deliveries for what happened since the last time; how many events were looked at.

    Several processes may call it: they take turns at the mark. The look before
    the transaction keeps those with nothing to do off SQLite's write lock.
    """
    first = Webhook.objects.filter(active=True).aggregate(first=Min("after_event"))["first"]
    return _hand_out(first) if first is not None and _is_news(first) else 0


def _is_news(first: int) -> bool:
    mark = Mark.objects.filter(pk=1).first()
    if mark is None or mark.missing:
        return True
    return Event.objects.filter(pk__gt=max(mark.last, first)).exists()


@transaction.atomic
def _hand_out(first: int) -> int:
    mark = _mark()
    _skip_to(mark, first)
    missing = [int(number) for number in mark.missing]
    rows = Event.objects.filter(Q(pk__gt=mark.last) | Q(pk__in=missing)).order_by("pk")
    events = list(rows.only(*LOOKED_AT)[:BATCH])
    now = timezone.now()
    deliveries = list(_deliveries(events, now))
    Delivery.objects.bulk_create(deliveries, ignore_conflicts=True)
    if _advance(mark, [event.pk for event in events], now):
        mark.save(update_fields=["last", "missing"])
    return len(events)


def _mark() -> Mark:
    """The one row, locked."""
    Mark.objects.get_or_create(pk=1)
    return Mark.objects.select_for_update().get(pk=1)


def _skip_to(mark: Mark, first: int) -> None:
    """Nobody was to be told of what lies before: do not read it."""
    if first > mark.last:
        mark.last, mark.missing = first, {}


def _advance(mark: Mark, seen: Sequence[int], now: datetime) -> bool:
    """Move the mark behind what was seen; True if it changed."""
    before = (mark.last, dict(mark.missing))
    for number in seen:
        mark.missing.pop(str(number), None)
        for skipped in range(max(mark.last + 1, number - MISSING_LIMIT), number):
            mark.missing[str(skipped)] = (now + LATE_COMMIT).timestamp()
        mark.last = max(mark.last, number)
    kept = {number: end for number, end in mark.missing.items() if end > now.timestamp()}
    mark.missing = dict(list(kept.items())[-MISSING_LIMIT:])
    return (mark.last, mark.missing) != before


def _deliveries(events: Iterable[Event], now: datetime) -> Iterable[Delivery]:
    told = [event for event in events if event.public]
    projects = {event.project_id for event in told if event.project_id is not None}
    accounts = {pk for event in told if (pk := account_of(event)) is not None}
    listeners = _Listeners(projects, accounts)
    for event in told:
        for webhook in listeners.of(event):
            if event.pk > webhook.after_event and wants(webhook.kinds, event.kind):
                yield Delivery(webhook=webhook, event=event, due=now)


class _Listeners:
    """Who is told: a project's own webhooks, its account's, and those of the resellers above.

    The tree is looked at as it is now. A customer's account stands at most two below the top.
    """

    def __init__(self, projects: set[int], accounts: set[int]):
        self._above_project = _chains(Project.objects.filter(pk__in=projects), OF_PROJECT)
        self._above_account = _chains(Account.objects.filter(pk__in=accounts), CHAIN)
        chains = (*self._above_project.values(), *self._above_account.values())
        owners = Q(project_id__in=projects) | Q(account_id__in=set[int]().union(*chains))
        self._of_project: dict[int, list[Webhook]] = defaultdict(list)
        self._of_account: dict[int, list[Webhook]] = defaultdict(list)
        for webhook in Webhook.objects.filter(owners, active=True):
            if webhook.project_id is not None:
                self._of_project[webhook.project_id].append(webhook)
            elif webhook.account_id is not None:
                self._of_account[webhook.account_id].append(webhook)

    def of(self, event: Event) -> Iterator[Webhook]:
        """Those that may read the event; whether they want it is theirs to say."""
        accounts = self._above_account.get(account_of(event) or 0, set())
        if event.project_id is not None:
            yield from self._of_project[event.project_id]
            accounts = accounts | self._above_project.get(event.project_id, set())
        for account in accounts:
            yield from self._of_account[account]


def _chains(rows: QuerySet[Any], chain: Sequence[str]) -> dict[int, set[int]]:
    """The accounts from each row's own upwards."""
    found = rows.values_list("pk", *chain)
    return {pk: {account for account in accounts if account} for pk, *accounts in found}
