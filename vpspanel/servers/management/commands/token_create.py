"""`manage.py token_create PROJECT` or `--account ACCOUNT`: an API token for scripts."""

from __future__ import annotations

from argparse import ArgumentTypeError
from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from vpspanel.accounts.finding import project_named
from vpspanel.accounts.models import Account
from vpspanel.accounts.scopes import Scope
from vpspanel.accounts.token_services import MadeToken, create_reseller_token
from vpspanel.errors import Refused
from vpspanel.events.actor import Actor
from vpspanel.servers.limited_tokens import create_limited_token

ROOT = Actor(user=None, via="command")


class Command(BaseCommand):
    """Prints the secret on a line of its own and nothing else, so that a script can keep it."""

    help = "Make an API token of a project, or of a reseller, and print its secret, once."

    def add_arguments(self, parser: CommandParser) -> None:
        add = parser.add_argument
        help_ = "its number, or the mail address of somebody who owns one"
        add("project", nargs="?", help=help_)
        help_ = "number of a reseller's account: the token acts for it and all below"
        add("--account", type=int, metavar="ACCOUNT", help=help_)
        add("--name", default="script", help="what will use it (default: script)")
        add("--write", action="store_true", help="it may change everything")
        scopes = ", ".join(Scope)
        help_ = f"it may change this, and only what is named so; may be repeated: {scopes}"
        add("--scope", dest="scopes", action="append", default=[], metavar="SCOPE", help=help_)
        help_ = "name or number of the only server that is there for it; may be repeated"
        add("--server", dest="servers", action="append", default=[], metavar="SERVER", help=help_)
        until = parser.add_mutually_exclusive_group().add_argument
        until("--days", type=int, help="how long it is valid (default: until it is revoked)")
        until("--expires", type=_moment, metavar="TIME", help="until when, as 2030-01-31T12:00Z")
        help_ = "the network that it may be used from, as 192.0.2.0/24; may be repeated"
        add("--cidr", "--from", dest="networks", action="append", default=[], help=help_)

    def handle(self, *args: Any, **options: Any) -> None:
        if (options["project"] is None) == (options["account"] is None):
            raise CommandError("Name either a project or, with --account, a reseller's account.")
        try:
            made = _of_project(options) if options["project"] else _of_reseller(options)
        except Refused as refusal:
            raise CommandError(refusal.message) from refusal
        self.stdout.write(made.secret)


def _of_project(options: dict[str, Any]) -> MadeToken:
    return create_limited_token(
        ROOT,
        project=project_named(options["project"]),
        scopes=options["scopes"],
        servers=options["servers"],
        **_wanted(options),
    )


def _of_reseller(options: dict[str, Any]) -> MadeToken:
    if options["scopes"] or options["servers"]:
        raise CommandError("A reseller's token has no scopes and is for no single servers.")
    account = Account.objects.filter(pk=options["account"], deleted_at=None).first()
    if account is None:
        raise CommandError(f"There is no account {options['account']}.")
    return create_reseller_token(ROOT, account=account, **_wanted(options))


def _wanted(options: dict[str, Any]) -> dict[str, Any]:
    """What every token has."""
    days = options["days"]
    return {
        "name": options["name"],
        "may_write": options["write"],
        "expires": timezone.now() + timedelta(days=days) if days else options["expires"],
        "networks": options["networks"],
    }


def _moment(text: str) -> datetime:
    """The time; the site's time zone is meant if it names none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text} is not a time such as 2030-01-31T12:00Z") from None
    return found if timezone.is_aware(found) else timezone.make_aware(found)
