"""API tokens: list, make, change, revoke."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, cast

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from vpspanel.accounts.models import ApiToken, Project, Role
from vpspanel.accounts.scopes import MEANING, Scope
from vpspanel.accounts.token_changes import require_changeable
from vpspanel.accounts.token_fields import NAME_LENGTH
from vpspanel.accounts.token_services import MadeToken, require_token_role, revoke_token
from vpspanel.errors import NotFound, Refused
from vpspanel.pages.actor import SignedInRequest
from vpspanel.pages.customer import customer_page
from vpspanel.pages.dialogs import render_dialog
from vpspanel.pages.forms import RefusableForm
from vpspanel.pages.shell import chosen_project, projects_of, working_project
from vpspanel.servers.access import visible_servers
from vpspanel.servers.limited_tokens import change_limited_token, create_limited_token

LIVES = {"30": "30 days", "90": "90 days", "365": "a year", "": "until it is revoked"}
FOR_EVER = "ever"


class TokenForm(RefusableForm):
    """What a new token may."""

    name = forms.CharField(
        label="Name",
        max_length=NAME_LENGTH,
        help_text="What will use it: a script, a machine, a tool.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    may_write = forms.BooleanField(
        label="May change everything",
        required=False,
        help_text="Order, stop, rebuild and delete servers, for instance.",
    )
    scopes = forms.MultipleChoiceField(
        label="May change only this",
        choices=[(scope.value, f"{scope}: {MEANING[scope]}") for scope in Scope],
        required=False,
        widget=forms.CheckboxSelectMultiple(attrs={"class": "form-check-input"}),
        help_text="If you choose neither this nor everything, it only reads.",
    )
    servers = forms.CharField(
        label="Only these servers",
        required=False,
        max_length=10_000,
        help_text="Their names, one on each line. Others do not exist for it; "
        "without any it is for all.",
        widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false", "autocapitalize": "off"}),
    )
    days = forms.ChoiceField(
        label="Valid for", choices=list(LIVES.items()), required=False, initial="90"
    )
    networks = forms.CharField(
        label="Only from",
        required=False,
        max_length=2000,
        help_text="Addresses or networks such as 192.0.2.0/24, one on each line.",
        widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false", "autocapitalize": "off"}),
    )

    def clean(self) -> dict[str, Any]:
        """Everything and only something cannot both be meant."""
        if self.cleaned_data.get("may_write") and self.cleaned_data.get("scopes"):
            self.add_error("scopes", "Choose either everything, or what it may change.")
        return self.cleaned_data

    def wanted(self) -> dict[str, Any]:
        """What the service takes, but for servers and end."""
        data = self.cleaned_data
        return {
            "name": data["name"],
            "may_write": data["may_write"],
            "scopes": data["scopes"],
            "networks": data["networks"].split(),
        }


class ChangedTokenForm(TokenForm):
    """What a token may from now on. Its end stays unless another is chosen."""

    def __init__(self, *args: Any, token: ApiToken, servers: Iterable[str], **kwargs: Any) -> None:
        kwargs["initial"] = {
            "name": token.name,
            "may_write": token.may_write and not token.scopes,
            "scopes": token.scopes,
            "servers": "\n".join(servers),
            "days": "",
            "networks": "\n".join(token.networks),
        }
        super().__init__(*args, **kwargs)
        days = cast(forms.ChoiceField, self.fields["days"])
        days.label = "Valid until"
        days.choices = _other_ends(token.expires)

    def wanted(self) -> dict[str, Any]:
        """What the service takes. A list of servers as it was is not looked up again."""
        wanted = super().wanted()
        servers = self.cleaned_data["servers"].split()
        if servers != self.initial["servers"].split():
            wanted["servers"] = servers
        if days := self.cleaned_data["days"]:
            wanted["expires"] = None if days == FOR_EVER else _in_days(days)
        return wanted


def _other_ends(expires: datetime | None) -> list[tuple[str, str]]:
    """The end as it is, and others, counted from now."""
    others = [(days, f"{life} from now") for days, life in LIVES.items() if days]
    if expires is None:
        return [("", "it is revoked, as before"), *others]
    until = timezone.localtime(expires)
    return [("", f"{until:%Y-%m-%d %H:%M}, as before"), *others, (FOR_EVER, "it is revoked")]


def _in_days(days: str) -> datetime:
    return timezone.now() + timedelta(days=int(days))


@customer_page
@require_safe
def list_tokens(request: SignedInRequest) -> HttpResponse:
    """The tokens of the chosen project, or of all."""
    chosen = chosen_project(request)
    projects = [chosen] if chosen else projects_of(request.actor)
    tokens = ApiToken.objects.filter(project__in=projects).select_related("project", "created_by")
    names = _names(request, tokens)
    rows = [
        (token, [names.get(pk, "a deleted server") for pk in token.server_ids]) for token in tokens
    ]
    context = {"rows": rows, "many": len(projects) > 1, "now": timezone.now()}
    return render(request, "tokens/list.html", context)


@customer_page
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def add_token(request: SignedInRequest) -> HttpResponse:
    """Say what it may; the answer shows the secret, and nothing else ever does."""
    project = working_project(request, Role.ADMIN)
    form = TokenForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        days = form.cleaned_data["days"]
        try:
            made = create_limited_token(
                request.actor,
                project=project,
                servers=form.cleaned_data["servers"].split(),
                expires=_in_days(days) if days else None,
                **form.wanted(),
            )
        except NotFound:
            raise
        except Refused as refusal:
            form.refuse(refusal)
        else:
            return _show(request, made)
    context = {"form": form, "project": project}
    return render_dialog(request, "tokens/add.html", context, status=422 if form.errors else 200)


def _show(request: SignedInRequest, made: MadeToken) -> HttpResponse:
    endpoint = request.build_absolute_uri("/api/v1")
    context = {"token": made.token, "secret": made.secret, "endpoint": endpoint}
    return render_dialog(request, "tokens/made.html", context)


@customer_page
@require_http_methods(["GET", "HEAD", "POST"])
def change(request: SignedInRequest, token_id: int) -> HttpResponse:
    """Say what it may from now on; the secret stays."""
    token, _ = _existing(request, token_id)
    if request.method != "POST":
        require_changeable(request.actor, token)
    names = _names(request, [token])
    servers = [names.get(pk, str(pk)) for pk in token.server_ids]
    form = ChangedTokenForm(request.POST or None, token=token, servers=servers)

    def deed() -> None:
        change_limited_token(request.actor, token, **form.wanted())

    if request.method == "POST" and form.done(deed):
        messages.success(request, f"API token {token.name} was changed.")
        return redirect("tokens:list")
    context = {"form": form, "token": token}
    return render_dialog(request, "tokens/change.html", context, status=422 if form.errors else 200)


@customer_page
@require_http_methods(["GET", "HEAD", "POST"])
def revoke(request: SignedInRequest, token_id: int) -> HttpResponse:
    """Ask, then forget a token."""
    token, project = _existing(request, token_id)
    if request.method == "POST":
        revoke_token(request.actor, project=project, token_id=token.pk)
        messages.success(request, f"API token {token.name} was revoked.")
        return redirect("tokens:list")
    return render_dialog(request, "tokens/revoke.html", {"token": token})


def _existing(request: SignedInRequest, token_id: int) -> tuple[ApiToken, Project]:
    """The token and its project, for those who may change it."""
    tokens = ApiToken.objects.filter(pk=token_id, project__in=projects_of(request.actor))
    token = tokens.select_related("project__account").first()
    if token is None or token.project is None:
        raise NotFound("API token")
    require_token_role(request.actor, token.project)
    return token, token.project


def _names(request: SignedInRequest, tokens: Iterable[ApiToken]) -> dict[int, str]:
    """The names of the servers that they are for, without deleted ones."""
    chosen = {pk for token in tokens for pk in token.server_ids}
    there = visible_servers(request.actor).filter(pk__in=chosen)
    return dict(there.values_list("pk", "name"))
