"""API tokens: list, make, revoke."""

from __future__ import annotations

from datetime import timedelta

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from vpspanel.accounts.models import ApiToken, Role
from vpspanel.accounts.token_services import (
    NAME_LENGTH,
    MadeToken,
    create_token,
    require_token_role,
    revoke_token,
)
from vpspanel.errors import NotFound, Refused
from vpspanel.pages.actor import SignedInRequest
from vpspanel.pages.customer import customer_page
from vpspanel.pages.dialogs import render_dialog
from vpspanel.pages.forms import RefusableForm
from vpspanel.pages.shell import chosen_project, projects_of, working_project

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
        label="May change things",
        required=False,
        help_text="Order, stop, rebuild and delete servers. Without this it only reads.",
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


@customer_page
@require_safe
def list_tokens(request: SignedInRequest) -> HttpResponse:
    """The tokens of the chosen project, or of all."""
    chosen = chosen_project(request)
    projects = [chosen] if chosen else projects_of(request.actor)
    tokens = ApiToken.objects.filter(project__in=projects).select_related("project", "created_by")
    context = {"tokens": tokens, "many": len(projects) > 1, "now": timezone.now()}
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
            made = create_token(
                request.actor,
                project=project,
                name=form.cleaned_data["name"],
                may_write=form.cleaned_data["may_write"],
                expires=timezone.now() + timedelta(days=int(days)) if days else None,
                networks=form.cleaned_data["networks"].split(),
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
    if token is None:
        raise NotFound("API token")
    require_token_role(request.actor, token.project)
    if request.method == "POST":
        revoke_token(request.actor, project=token.project, token_id=token.pk)
        messages.success(request, f"API token {token.name} was revoked.")
        return redirect("tokens:list")
    return render_dialog(request, "tokens/revoke.html", {"token": token})
