"""Making and changing the tokens of resellers, for staff."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone

from vpspanel.accounts.models import Account
from vpspanel.accounts.token_changes import change_reseller_token
from vpspanel.accounts.token_fields import NAME_LENGTH
from vpspanel.accounts.token_services import create_reseller_token
from vpspanel.errors import Refused
from vpspanel.events.staff import staff_actor

LONGEST = 3650  # days


class TokenForm(forms.Form):
    """What a token may."""

    name = forms.CharField(max_length=NAME_LENGTH, help_text="What will use it.")
    may_write = forms.BooleanField(
        required=False, label="May change things", help_text="Otherwise it only reads."
    )
    networks = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 3}),
        label="Only from",
        help_text="Networks such as 192.0.2.0/24, one a line. Empty: from anywhere.",
    )

    def refuse(self, refusal: Refused) -> None:
        """Put the refusal beside its field, or above the form."""
        self.add_error(refusal.field if refusal.field in self.fields else None, refusal.message)

    def wanted(self) -> dict[str, Any]:
        """What the service takes, but for the end."""
        data = self.cleaned_data
        networks = data["networks"].split()
        return {"name": data["name"], "may_write": data["may_write"], "networks": networks}


class NewTokenForm(TokenForm):
    """What a new token may."""

    days = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=LONGEST,
        label="Valid for days",
        help_text="Empty: until it is revoked.",
    )


class ChangedTokenForm(TokenForm):
    """What a token may from now on."""

    expires = forms.DateTimeField(
        required=False,
        label="Valid until",
        help_text="A time such as 2030-01-31 12:00. Empty: until it is revoked.",
        widget=forms.DateTimeInput(format="%Y-%m-%d %H:%M:%S"),
    )

    def wanted(self) -> dict[str, Any]:
        """What the service takes. An end that was not touched keeps its fractions of a second."""
        wanted = super().wanted()
        if "expires" in self.changed_data:
            wanted["expires"] = self.cleaned_data["expires"]
        return wanted


def new_reseller_token(
    request: HttpRequest, account: Account, context: dict[str, Any]
) -> HttpResponse:
    """The form; after it the secret, which no other page ever shows."""
    form = NewTokenForm(request.POST or None)
    made = None
    if request.method == "POST" and form.is_valid():
        days = form.cleaned_data["days"]
        try:
            made = create_reseller_token(
                staff_actor(request),
                account=account,
                expires=timezone.now() + timedelta(days=days) if days else None,
                **form.wanted(),
            )
        except Refused as refusal:
            form.refuse(refusal)
    context |= {"title": f"API token of {account}", "account": account, "form": form, "made": made}
    return render(request, "admin/accounts/new_token.html", context)


def changed_reseller_token(
    request: HttpRequest, account: Account, token_id: int, context: dict[str, Any]
) -> HttpResponse:
    """The form with what the token may now; the secret stays."""
    token = get_object_or_404(account.api_tokens.select_related("account"), pk=token_id)
    now = {
        "name": token.name,
        "may_write": token.may_write,
        "networks": "\n".join(token.networks),
        "expires": token.expires,
    }
    form = ChangedTokenForm(request.POST or None, initial=now)
    if request.method == "POST" and form.is_valid():
        try:
            change_reseller_token(staff_actor(request), token, **form.wanted())
        except Refused as refusal:
            form.refuse(refusal)
        else:
            messages.success(request, f"The API token {token.name} was changed.")
            return redirect("admin:accounts_account_change", account.pk)
    context |= {"title": f"API token {token}", "account": account, "form": form, "token": token}
    return render(request, "admin/accounts/change_token.html", context)
