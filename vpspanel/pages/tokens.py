"""API tokens: list, make, revoke."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from vpspanel.accounts.models import ApiToken, Role
from vpspanel.accounts.scopes import MEANING, Scope
from vpspanel.accounts.token_services import (
    NAME_LENGTH,
    MadeToken,
    require_token_role,
    revoke_token,
)
from vpspanel.errors import NotFound, Refused
from vpspanel.pages.actor import SignedInRequest
from vpspanel.pages.customer import customer_page
from vpspanel.pages.dialogs import render_dialog
from vpspanel.pages.forms import RefusableForm
from vpspanel.pages.shell import chosen_project, projects_of, working_project
from vpspanel.servers.access import visible_servers
from vpspanel.servers.limited_tokens import create_limited_token

LIVES = {"30": "30 days", "90": "90 days", "365": "a year", "": "until it is revoked"}


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
        help_text="Their names, one on each line. Others do not exist for it.",
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


@customer_page
@require_safe
def list_tokens(request: SignedInRequest) -> HttpResponse:
    """The tokens of the chosen project, or of all."""
    chosen = chosen_project(request)
    projects = [chosen] if chosen else projects_of(request.actor)
    tokens = ApiToken.objects.filter(project__in=projects).select_related("project", "created_by")
    for_servers = {pk for token in tokens for pk in token.server_ids}
    names = dict(
        visible_servers(request.actor).filter(pk__in=for_servers).values_list("pk", "name")
    )
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
                name=form.cleaned_data["name"],
                may_write=form.cleaned_data["may_write"],
                expires=timezone.now() + timedelta(days=int(days)) if days else None,
                networks=form.cleaned_data["networks"].split(),
                scopes=form.cleaned_data["scopes"],
                servers=form.cleaned_data["servers"].split(),
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
def revoke(request: SignedInRequest, token_id: int) -> HttpResponse:
    """Ask, then forget a token."""
    tokens = ApiToken.objects.filter(pk=token_id, project__in=projects_of(request.actor))
    token = tokens.select_related("project").first()
    if token is None or token.project is None:
        raise NotFound("API token")
    require_token_role(request.actor, token.project)
    if request.method == "POST":
        revoke_token(request.actor, project=token.project, token_id=token.pk)
        messages.success(request, f"API token {token.name} was revoked.")
        return redirect("tokens:list")
    return render_dialog(request, "tokens/revoke.html", {"token": token})
