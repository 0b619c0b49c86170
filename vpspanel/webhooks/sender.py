"""Sending what is due: several at once, few to each receiver, again and again until it arrives.

A delivery is claimed by raising its `attempt` and putting its `due` a little
into the future: if the process dies, another finds it due again. So a message
may arrive twice, never not at all; receivers know it by its id.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from django.db import DatabaseError, close_old_connections, transaction
from django.db.models import F
from django.utils import timezone

from vpspanel.events.actor import SYSTEM
from vpspanel.events.bell import Bell
from vpspanel.events.services import record_event
from vpspanel.sealing import SealError, unseal
from vpspanel.webhooks import outgoing, signing
from vpspanel.webhooks.handout import BATCH, hand_out
from vpspanel.webhooks.message import body_of, message_id
from vpspanel.webhooks.models import Delivery, DeliveryState, Webhook
from vpspanel.webhooks.outgoing import Answer, Unsendable
from vpspanel.webhooks.services import give_up_waiting

log = structlog.get_logger(__name__)

# Pauses after each try that failed, in seconds; the schedule that Standard Webhooks suggests.
PAUSES = (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
SPREAD = 0.2  # of a pause, so that not everything comes back at once
LEASE = timedelta(seconds=120)  # longer than a try may take: a name that is not found takes long
GIVE_UP_AFTER = timedelta(days=5)  # of failures only: the webhook is turned off
LOG_KEPT = timedelta(days=30)
LOOK_EVERY = 1.0  # seconds
THREADS, PER_WEBHOOK = 8, 2
GONE = 410  # the receiver says that it wants nothing more

Post = Callable[[str, dict[str, str], bytes], Answer]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one try."""

    answer: Answer | None
    problem: str

    @property
    def arrived(self) -> bool:
        """Whether it was taken."""
        return self.answer is not None and self.answer.is_good


class Sender:
    """Hands out and sends until `stop` is called."""

    def __init__(self, post: Post = outgoing.post):
        self._post = post
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="webhook")
        self._busy: Counter[int] = Counter()
        self._guard = threading.Lock()
        self._free = threading.BoundedSemaphore(THREADS)
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Begin nothing more."""
        self._stopping.set()

    def run(self) -> None:
        """Work until stopped."""
        with Bell("live") as bell:
            while not self._stopping.is_set():
                try:
                    more = hand_out() >= BATCH
                    more = self._send_due() or more
                except DatabaseError:
                    log.exception("webhooks_unreadable")
                    close_old_connections()
                    more = False
                if not more:
                    close_old_connections()
                    bell.wait(LOOK_EVERY)
        self._pool.shutdown(wait=False, cancel_futures=True)
        close_old_connections()

    def send_all_due(self) -> int:
        """Hand out and send, one after the other in this thread; how many were sent."""
        while hand_out() >= BATCH:
            pass
        count = 0
        while (delivery := claim_due([])) is not None:
            send(delivery, self._post)
            count += 1
        return count

    def _send_due(self) -> bool:
        """Start what is due and has a thread; True if something was started."""
        started = False
        while self._free.acquire(blocking=False):
            with self._guard:
                full = [pk for pk, count in self._busy.items() if count >= PER_WEBHOOK]
            delivery = claim_due(full)
            if delivery is None:
                self._free.release()
                break
            with self._guard:
                self._busy[delivery.webhook_id] += 1
            self._pool.submit(self._work, delivery)
            started = True
        return started

    def _work(self, delivery: Delivery) -> None:
        try:
            send(delivery, self._post)
        except Exception:
            log.exception("webhook_failed", delivery=delivery.pk)  # it is due again after its lease
        finally:
            with self._guard:
                self._busy[delivery.webhook_id] -= 1
                if not self._busy[delivery.webhook_id]:
                    del self._busy[delivery.webhook_id]
            self._free.release()
            close_old_connections()


def claim_due(not_of: list[int]) -> Delivery | None:
    """The delivery that waits longest, for this process alone until its lease is over."""
    now = timezone.now()
    due = Delivery.objects.filter(state=DeliveryState.QUEUED, due__lte=now, webhook__active=True)
    rows = due.exclude(webhook_id__in=not_of).order_by("due", "pk")
    for delivery in rows.select_related("webhook", "event")[:20]:
        mine = Delivery.objects.filter(
            pk=delivery.pk, attempt=delivery.attempt, state=DeliveryState.QUEUED
        )
        if mine.update(attempt=F("attempt") + 1, due=now + LEASE):
            delivery.attempt += 1
            return delivery
    return None


def send(delivery: Delivery, post: Post) -> None:
    """One try, and the record of it."""
    webhook, now = delivery.webhook, timezone.now()
    try:
        secrets = _secrets(webhook, now)
    except SealError:
        _record(delivery, Outcome(None, "Its secret cannot be read. Make a new one."))
        return
    body = body_of(delivery.event)
    headers = {"Content-Type": "application/json"} | signing.headers(
        secrets,
        message_id(delivery.event_id, webhook.pk),
        int(now.timestamp()),
        body,
    )
    try:
        outcome = Outcome(post(webhook.url, headers, body), "")
    except Unsendable as problem:
        outcome = Outcome(None, str(problem))
    _record(delivery, outcome)


def _secrets(webhook: Webhook, now: datetime) -> list[str]:
    secrets = [unseal(webhook.secret_sealed)]
    if webhook.old_secret_until is not None and webhook.old_secret_until > now:
        secrets.append(unseal(webhook.old_secret_sealed))
    return secrets


@transaction.atomic
def _record(delivery: Delivery, outcome: Outcome) -> None:
    """Write the outcome down, unless somebody else has taken the delivery over."""
    now, answer = timezone.now(), outcome.answer
    tries = delivery.tries + 1
    state, due = _what_next(tries, outcome, now)
    mine = Delivery.objects.filter(pk=delivery.pk, attempt=delivery.attempt)
    recorded = mine.update(
        state=state,
        due=due,
        tries=tries,
        last_at=now,
        last_status=answer.status if answer else None,
        last_error=outcome.problem[:200],
        last_answer=answer.text if answer else "",
        last_took_ms=answer.took_ms if answer else None,
    )
    if recorded:
        _judge(delivery.webhook, outcome, now)


def _what_next(tries: int, outcome: Outcome, now: datetime) -> tuple[DeliveryState, datetime]:
    if outcome.arrived:
        return DeliveryState.DELIVERED, now
    if tries > len(PAUSES) or (outcome.answer is not None and outcome.answer.status == GONE):
        return DeliveryState.FAILED, now
    pause = PAUSES[tries - 1] * random.uniform(1 - SPREAD, 1 + SPREAD)  # noqa: S311 - spreads only
    asked = outcome.answer.retry_after if outcome.answer is not None else None
    return DeliveryState.QUEUED, now + timedelta(seconds=max(pause, min(asked or 0, PAUSES[-1])))


def _judge(webhook: Webhook, outcome: Outcome, now: datetime) -> None:
    """Remember since when it fails; turn it off when it has failed for days or is gone."""
    rows = Webhook.objects.filter(pk=webhook.pk, active=True)
    if outcome.arrived:
        rows.exclude(failing_since=None).update(failing_since=None)
        return
    rows.filter(failing_since=None).update(failing_since=now)
    if outcome.answer is not None and outcome.answer.status == GONE:
        _turn_off(webhook, "The receiver answered 410: it wants nothing more.")
    elif rows.filter(failing_since__lt=now - GIVE_UP_AFTER).exists():
        _turn_off(webhook, f"Nothing arrived for {GIVE_UP_AFTER.days} days.")


def _turn_off(webhook: Webhook, reason: str) -> None:
    if Webhook.objects.filter(pk=webhook.pk, active=True).update(active=False, ended_reason=reason):
        give_up_waiting(webhook)
        record_event(
            "webhook.turned_off",
            f"Webhook {webhook.name} was turned off. {reason}",
            resource=("webhook", webhook.pk),
            project_id=webhook.project_id,
            actor=SYSTEM,
        )


def forget_old_deliveries(now: datetime) -> int:
    """Forget what was sent or given up a month ago; how many were forgotten."""
    old = Delivery.objects.filter(created__lt=now - LOG_KEPT).exclude(state=DeliveryState.QUEUED)
    return old.delete()[0]
