"""Suspending accounts: a suspension reaches every account below, and is lifted by whoever may.

What it means for servers is decided where servers are (`servers/suspending.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from django.db import transaction
from django.db.models import Case, IntegerField, Q, QuerySet, Value, When
from django.db.models.functions import Coalesce
from django.utils import timezone

from vpspanel.accounts.models import Account, Suspender
from vpspanel.accounts.roles import acts_as_staff, governs
from vpspanel.accounts.telling import say_of_account, say_of_accounts
from vpspanel.accounts.tree import below, tree_of
from vpspanel.errors import NotFound, Refused
from vpspanel.events.actor import Actor

REASON_LENGTH = 200
# Whose suspension gives way to whose. One of nobody is from before it was written down.
YIELDS = {
    Suspender.STAFF: (Suspender.RESELLER, Suspender.ABOVE),
    Suspender.RESELLER: (Suspender.ABOVE,),
}
LIFTS = {
    Suspender.STAFF: (Suspender.STAFF, Suspender.RESELLER, ""),
    Suspender.RESELLER: (Suspender.RESELLER,),
}


@transaction.atomic
def suspend(actor: Actor, account_id: int, *, reason: str) -> Sequence[int]:
    """Suspend it and all below that are not yet; which accounts that newly are.

    Raises `NotFound` for strangers, and `Refused`.
    """
    suspender, reason = suspender_of(actor, account_id), clean_reason(reason)
    account = _locked_tree(account_id)
    now = timezone.now()
    reached = _pks(Account.objects.filter(tree_of(account_id), suspended_at=None))
    Account.objects.filter(below(account_id), suspended_at=None).update(
        suspended_at=now, suspended_reason="", suspender=Suspender.ABOVE
    )
    fresh = Q(suspended_at=None) | Q(suspender__in=YIELDS[suspender])
    if not Account.objects.filter(fresh, pk=account_id).update(
        suspended_at=Coalesce("suspended_at", now), suspended_reason=reason, suspender=suspender
    ):
        raise already()
    _say(actor, account, "suspended", f"was suspended: {reason}", reached)
    followers = set(reached) - {account_id}
    say_of_accounts(actor, followers, "account.suspended", "was suspended with the one above it")
    return reached


@transaction.atomic
def unsuspend(actor: Actor, account_id: int) -> Sequence[int]:
    """Lift its suspension, and that of all below which only followed it; which accounts those are.

    While the account above is suspended, it stays so with that one. Raises
    `NotFound` for strangers, and `Refused`.
    """
    suspender = suspender_of(actor, account_id)
    account = _locked_tree(account_id)
    refuse_to_lift(suspender, account.suspender, is_suspended=account.suspended_at is not None)
    if account.parent is not None and account.parent.suspended_at is not None:
        Account.objects.filter(pk=account_id).update(suspended_reason="", suspender=Suspender.ABOVE)
        _say(actor, account, "unsuspended", "stays suspended with the account above it", ())
        return ()
    lifted = _lift(Account.objects.filter(pk=account_id))
    followed = Account.objects.filter(suspender=Suspender.ABOVE, parent__suspended_at=None)
    followers = _lift(followed.filter(parent=account_id))
    followers += _lift(followed.filter(parent__parent=account_id))
    lifted += followers
    _say(actor, account, "unsuspended", "is no longer suspended", lifted)
    say_of_accounts(actor, followers, "account.unsuspended", "is no longer suspended")
    return lifted


def suspender_of(actor: Actor, account_id: int, *, itself: bool = False) -> Suspender:
    """As whom the actor may suspend that account. Raises `NotFound` for everybody else.

    A reseller suspends those below and, with `itself`, its own.
    """
    if acts_as_staff(actor) and Account.objects.filter(pk=account_id).exists():
        return Suspender.STAFF
    if governs(actor, account_id, itself=itself):
        return Suspender.RESELLER
    raise NotFound("account")


def refuse_to_lift(suspender: Suspender, suspended_by: str, *, is_suspended: bool) -> None:
    """Raises `Refused` unless who acts as `suspender` may lift what `suspended_by` did."""
    if not is_suspended:
        raise Refused("conflict", "It is not suspended.")
    if suspended_by == Suspender.ABOVE:
        message = "It is suspended with the account above it. Lift that suspension instead."
        raise Refused("conflict", message)
    if suspended_by not in LIFTS[suspender]:
        raise Refused("forbidden", "Our staff has suspended it. Please contact support.")


def already() -> Refused:
    """The refusal of a second suspension."""
    return Refused("conflict", "It is suspended already.")


def clean_reason(reason: str) -> str:
    """One line. Raises `Refused`."""
    reason = " ".join(reason.split())
    if not 0 < len(reason) <= REASON_LENGTH or not reason.isprintable():
        message = f"A reason has 1 to {REASON_LENGTH} characters; the customer reads it."
        raise Refused("invalid_input", message, field="reason")
    return reason


def _locked_tree(account_id: int) -> Account:
    """The account. The lowest rows are locked first, as an order takes slots from below."""
    depth = Case(
        When(pk=account_id, then=Value(2)),
        When(parent=account_id, then=Value(1)),
        default=Value(0),
        output_field=IntegerField(),
    )
    rows = Account.objects.filter(tree_of(account_id)).order_by(depth, "pk")
    list(rows.select_for_update(of=("self",)).values_list("pk"))
    return Account.objects.select_related("parent").get(pk=account_id)


def _lift(accounts: QuerySet[Account]) -> list[int]:
    pks = _pks(accounts)
    Account.objects.filter(pk__in=pks).update(suspended_at=None, suspended_reason="", suspender="")
    return pks


def _pks(accounts: QuerySet[Account]) -> list[int]:
    return list(accounts.values_list("pk", flat=True))


def _say(actor: Actor, account: Account, what: str, words: str, reached: Sequence[int]) -> None:
    say_of_account(actor, account, f"account.{what}", words, accounts=len(reached))
