"""What staff may make of the tree of accounts. Customers and resellers have services instead."""

from __future__ import annotations

from vpspanel.accounts.models import Account, Suspender
from vpspanel.accounts.tree import accounts_below, upwards

DEEPEST = 2  # how many accounts may stand above one


def problems(account: Account) -> dict[str, str]:
    """What speaks against saving it as it is now, by field."""
    found = {}
    before = Account.objects.filter(pk=account.pk).first()
    if before is not None and account.parent_id != before.parent_id:
        problem = _wrong_move(before) or _wrong_parent(account)
        if problem:
            found["parent"] = problem
    ends = before is not None and before.is_reseller and not account.is_reseller
    if ends and (accounts_below(account.pk).exists() or account.api_tokens.exists()):
        found["is_reseller"] = "It has customers or tokens of its own. End those first."
    return found


def _wrong_move(account: Account) -> str:
    if account.servers_used:
        return "Only an account without servers can change its reseller: they count on both."
    if account.suspender == Suspender.ABOVE:
        return "It is suspended with its reseller. Lift that first."
    return ""


def _wrong_parent(account: Account) -> str:
    parent = account.parent
    if parent is None:
        return ""
    chain = upwards(parent.pk)
    if account.pk in chain:
        return "An account cannot stand below itself."
    if not parent.is_reseller or parent.deleted_at is not None:
        return f"{parent} is no reseller."
    if parent.suspended_at is not None:
        return f"{parent} is suspended."
    children = Account.objects.filter(parent=account.pk, deleted_at=None)
    height = 0
    if children.exists():
        height = 2 if Account.objects.filter(parent__in=children).exists() else 1
    if len(chain) + height > DEEPEST:
        return f"At most {DEEPEST} accounts may stand above another one."
    return ""
