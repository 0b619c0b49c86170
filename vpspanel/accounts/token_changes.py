"""API tokens, changed: the secret stays, and the next request finds what is new."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from vpspanel.accounts.models import ApiToken
from vpspanel.accounts.token_fields import (
    clean_end,
    clean_name,
    clean_networks,
    clean_scopes,
    name_taken,
)
from vpspanel.accounts.token_services import (
    account_suspended,
    record_token_event,
    require_staff,
    require_token_role,
)
from vpspanel.errors import NotFound, Refused
from vpspanel.events.actor import Actor


@transaction.atomic
def change_token(actor: Actor, token: ApiToken, **changes: Any) -> ApiToken:
    """Change a project's token; what is not named stays, and so does the secret.

    `changes` are what `create_token` takes: `name`, `may_write`, `scopes`, `server_ids` (see
    `change_limited_token`, which looks them up), `networks`, `expires`.
    Raises `NotFound` for strangers and `Refused`.
    """
    require_changeable(actor, token)
    return _change(actor, token, changes)


@transaction.atomic
def change_reseller_token(actor: Actor, token: ApiToken, **changes: Any) -> ApiToken:
    """The same for a reseller's: `name`, `may_write`, `networks`, `expires`. Only staff do it."""
    require_staff(actor)
    if token.account is None:
        raise NotFound("API token")
    return _change(actor, token, changes)


def require_changeable(actor: Actor, token: ApiToken) -> None:
    """Raises `NotFound`, `Refused` unless the actor may change this token as it is now.

    Any change may let it do more, so that is who may make one.
    """
    if token.project is None:
        raise NotFound("API token")
    require_token_role(actor, token.project)
    _require_use(token)


def _require_use(token: ApiToken) -> None:
    """Raises `Refused` if it is good for nothing any more: a change must not revive it."""
    if token.expires is not None and token.expires <= timezone.now():
        raise Refused("conflict", "This token has expired. Revoke it, and make a new one.")
    account = token.project.account if token.project is not None else token.account
    if account is not None and account.suspended_at is not None:
        raise account_suspended()


def _change(actor: Actor, token: ApiToken, changes: dict[str, Any]) -> ApiToken:
    """Write what differs, and an event that says what it was before."""
    tokens = ApiToken.objects.select_related("project__account", "account")
    now = tokens.select_for_update(of=("self",)).filter(pk=token.pk).first()
    if now is None:
        raise NotFound("API token")
    _require_use(now)
    wanted = _wanted(now, changes)
    before = {field: getattr(now, field) for field in wanted}
    differs = {field: value for field, value in wanted.items() if value != before[field]}
    try:
        with transaction.atomic():
            ApiToken.objects.filter(pk=token.pk).update(**wanted)
    except IntegrityError:
        raise name_taken(wanted["name"]) from None
    for field, value in wanted.items():
        setattr(token, field, value)
    if not differs:
        return token
    record_token_event(
        actor,
        token,
        "api_token.changed",
        f"was changed: {', '.join(_WORDS[field] for field in differs)}",
        **{field: _plain(value) for field, value in differs.items()},
        before={field: _plain(before[field]) for field in differs},
    )
    return token


_CLEAN: dict[str, Callable[[Any], Any]] = {
    "name": clean_name,
    "networks": clean_networks,
    "expires": clean_end,
}
_WORDS = {
    "name": "name",
    "may_write": "whether it may write",
    "scopes": "scopes",
    "server_ids": "servers",
    "networks": "networks",
    "expires": "end",
}


def _wanted(token: ApiToken, changes: dict[str, Any]) -> dict[str, Any]:
    """All that it is to have: scopes, servers and writing depend on each other."""
    wanted = {field: getattr(token, field) for field in _WORDS} | changes
    for field in _CLEAN.keys() & changes.keys():
        wanted[field] = _CLEAN[field](changes[field])
    wanted["server_ids"] = sorted(set(wanted["server_ids"]))
    if "scopes" not in changes and not changes.get("may_write", True):
        wanted["scopes"] = []  # of a token that only reads nothing is left to choose
    limits = clean_scopes(wanted["scopes"], for_servers=bool(wanted["server_ids"]))
    if token.scopes and not limits and "may_write" not in changes:
        # To take every limit away must be meant, not follow from an empty list.
        message = "Say with may_write what a token without scopes may: everything, or only read."
        raise Refused("invalid_input", message, field="scopes")
    return wanted | {"scopes": limits, "may_write": wanted["may_write"] or bool(limits)}


def _plain(value: Any) -> Any:
    """As an event keeps it: a moment is no JSON."""
    return value.isoformat() if hasattr(value, "isoformat") else value
