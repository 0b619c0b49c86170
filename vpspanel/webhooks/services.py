"""Webhooks: made, changed, tested, ended. Pages, API and admin call these."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Max
from django.utils import timezone

from vpspanel.accounts.models import Account, Project, Role
from vpspanel.accounts.roles import acts_as_root, governs, role_in
from vpspanel.accounts.scopes import Scope, lacks_scope
from vpspanel.errors import NotFound, Refused
from vpspanel.events.actor import Actor
from vpspanel.events.models import Event
from vpspanel.events.services import record_event
from vpspanel.sealing import seal
from vpspanel.webhooks.models import Delivery, DeliveryState, Webhook
from vpspanel.webhooks.outgoing import url_problem
from vpspanel.webhooks.signing import new_secret

WEBHOOKS_PER_OWNER = 20
NAME_LENGTH = 80
MOST_KINDS = 50
OLD_SECRET_KEPT = timedelta(hours=24)
MAY_CHANGE = (Role.OWNER, Role.ADMIN)
_KIND = re.compile(r"[a-z][a-z0-9_]{0,30}(\.[a-z0-9_]{1,30}|\.\*)")

Owner = Project | Account


@dataclass(frozen=True, slots=True)
class MadeWebhook:
    """A webhook and its secret, which is shown now and never again."""

    webhook: Webhook
    secret: str


@transaction.atomic
def create_webhook(
    actor: Actor, *, owner: Owner, name: str, url: str, kinds: Iterable[str] = ()
) -> MadeWebhook:
    """Tell `url` of what happens from now on. Raises `NotFound` for strangers and `Refused`."""
    require_webhook_role(actor, owner)
    if _account_of(owner).suspended_at is not None:
        raise Refused("forbidden", "The account is suspended. Please contact support.")
    fields = _clean(name=name, url=url, kinds=kinds)
    if owner.webhooks.count() >= WEBHOOKS_PER_OWNER:
        message = f"There may be {WEBHOOKS_PER_OWNER} webhooks."
        raise Refused("resource_limit_exceeded", message)
    secret = new_secret()
    webhook = Webhook(
        **_owned(owner), **fields, secret_sealed=seal(secret), after_event=_last_event()
    )
    _save(webhook)
    _say(actor, webhook, "webhook.created", "was made", url=url)
    return MadeWebhook(webhook, secret)


@transaction.atomic
def update_webhook(actor: Actor, webhook: Webhook, **changes: Any) -> Webhook:
    """Change `name`, `url`, `kinds` or `active`.

    Turned on again, it is told of what happens from then on. Raises `Refused`.
    """
    require_webhook_role(actor, owner_of(webhook))
    webhook = Webhook.objects.select_for_update().get(pk=webhook.pk)
    active = changes.pop("active", webhook.active)
    for field, value in _clean(**changes).items():
        setattr(webhook, field, value)
    if active and not webhook.active:
        webhook.after_event = _last_event()
        webhook.failing_since = None
        webhook.ended_reason = ""
    webhook.active = active
    _save(webhook)
    if not active:
        give_up_waiting(webhook)
    _say(actor, webhook, "webhook.changed", "was changed", active=active)
    return webhook


@transaction.atomic
def delete_webhook(actor: Actor, webhook: Webhook) -> None:
    """Forget it, with its log."""
    require_webhook_role(actor, owner_of(webhook))
    _say(actor, webhook, "webhook.deleted", "was deleted")
    webhook.delete()


@transaction.atomic
def rotate_secret(actor: Actor, webhook: Webhook) -> MadeWebhook:
    """A new secret; the one before it signs as well for a day, so that nothing is refused."""
    require_webhook_role(actor, owner_of(webhook))
    webhook = Webhook.objects.select_for_update().get(pk=webhook.pk)
    secret = new_secret()
    webhook.old_secret_sealed = webhook.secret_sealed
    webhook.old_secret_until = timezone.now() + OLD_SECRET_KEPT
    webhook.secret_sealed = seal(secret)
    webhook.save(update_fields=["old_secret_sealed", "old_secret_until", "secret_sealed"])
    _say(actor, webhook, "webhook.secret_changed", "has a new secret")
    return MadeWebhook(webhook, secret)


@transaction.atomic
def send_test(actor: Actor, webhook: Webhook) -> Delivery:
    """Queue a message of the kind `webhook.test`, whatever kinds it asked for."""
    require_webhook_role(actor, owner_of(webhook))
    if not webhook.active:
        raise Refused("conflict", "Turn the webhook on first.")
    event = _say(actor, webhook, "webhook.test", "is tested", public=False)
    return Delivery.objects.create(webhook=webhook, event=event, due=timezone.now())


@transaction.atomic
def redeliver(actor: Actor, delivery: Delivery) -> Delivery:
    """Send it once more from the beginning, whether it had arrived or not."""
    require_webhook_role(actor, owner_of(delivery.webhook))
    if not delivery.webhook.active:
        raise Refused("conflict", "Turn the webhook on first.")
    done = Delivery.objects.filter(pk=delivery.pk).exclude(state=DeliveryState.QUEUED)
    if not done.update(state=DeliveryState.QUEUED, tries=0, due=timezone.now()):
        raise Refused("conflict", "It is being sent already.")
    delivery.refresh_from_db()
    return delivery


def give_up_waiting(webhook: Webhook) -> None:
    """What waits for a webhook that was turned off is not sent later, out of its time."""
    waiting = webhook.deliveries.filter(state=DeliveryState.QUEUED)
    waiting.update(state=DeliveryState.FAILED, last_error="The webhook was turned off.")


def require_webhook_role(actor: Actor, owner: Owner) -> None:
    """Raises `NotFound` for those who have no part in it, `Refused` unless they may change it."""
    if acts_as_root(actor):
        return
    if isinstance(owner, Account):
        _require_reseller(actor, owner)
        return
    role = role_in(actor, owner.pk, Scope.WEBHOOKS)
    if role is None:
        raise NotFound("webhook")
    if role not in MAY_CHANGE and actor.token is not None:
        raise lacks_scope(Scope.WEBHOOKS)
    if role not in MAY_CHANGE:
        raise Refused("forbidden", "Your role in this project may not change its webhooks.")


def _require_reseller(actor: Actor, account: Account) -> None:
    """The webhooks of an account are for that reseller's own token.

    They tell of all its projects and customers, and a person has a role in single projects only.
    """
    if actor.token is None or actor.token.account_id != account.pk:
        raise NotFound("webhook")
    if not governs(actor, account.pk, itself=True):
        raise Refused("forbidden", "This needs a token that may write.")


def owner_of(webhook: Webhook) -> Owner:
    """The project or the account."""
    owner = webhook.project or webhook.account
    if owner is None:
        raise TypeError("a webhook without an owner")
    return owner


def _clean(**fields: Any) -> dict[str, Any]:
    """What may be saved as it is. Raises `Refused`."""
    if "name" in fields:
        fields["name"] = " ".join(fields["name"].split())
        if not 0 < len(fields["name"]) <= NAME_LENGTH or not fields["name"].isprintable():
            message = f"A webhook's name has 1 to {NAME_LENGTH} characters."
            raise Refused("invalid_input", message, field="name")
    if "url" in fields and (problem := url_problem(fields["url"])):
        raise Refused("invalid_input", problem, field="url")
    if "kinds" in fields:
        fields["kinds"] = list(dict.fromkeys(fields["kinds"]))
        for kind in fields["kinds"]:
            if not _KIND.fullmatch(kind):
                message = (
                    f"“{kind[:60]}” is not a kind of event such as server.started or server.*."
                )
                raise Refused("invalid_input", message, field="kinds")
        if len(fields["kinds"]) > MOST_KINDS:
            message = f"Name up to {MOST_KINDS} kinds, or none for all."
            raise Refused("invalid_input", message, field="kinds")
    return fields


def _save(webhook: Webhook) -> None:
    try:
        with transaction.atomic():
            webhook.save()
    except IntegrityError:
        message = f"Another webhook is called “{webhook.name}”."
        raise Refused("uniqueness_error", message, field="name") from None


def _owned(owner: Owner) -> dict[str, Owner]:
    return {"project": owner} if isinstance(owner, Project) else {"account": owner}


def _account_of(owner: Owner) -> Account:
    return owner.account if isinstance(owner, Project) else owner


def _last_event() -> int:
    last: int | None = Event.objects.aggregate(last=Max("pk"))["last"]
    return last or 0


def _say(actor: Actor, webhook: Webhook, kind: str, what: str, **more: Any) -> Event:
    return record_event(
        kind,
        f"Webhook {webhook.name} {what}",
        resource=("webhook", webhook.pk),
        project_id=webhook.project_id,
        actor=actor,
        **more,
    )
