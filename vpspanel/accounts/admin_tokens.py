"""Making the tokens of resellers, for staff."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from vpspanel.accounts.models import Account
from vpspanel.accounts.token_fields import NAME_LENGTH
from vpspanel.accounts.token_services import create_reseller_token
from vpspanel.errors import Refused
from vpspanel.events.staff import staff_actor

LONGEST = 3650  # days


class TokenForm(forms.Form):
    """What a new token may."""

    name = forms.CharField(max_length=NAME_LENGTH, help_text="What will use it.")
    may_write = forms.BooleanField(
        required=False, label="May change things", help_text="Otherwise it only reads."
    )
    days = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=LONGEST,
        label="Valid for days",
        help_text="Empty: until it is revoked.",
    )
    networks = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 3}),
        label="Only from",
        help_text="Networks such as 192.0.2.0/24, one a line. Empty: from anywhere.",
    )


def new_reseller_token(
    request: HttpRequest, account: Account, context: dict[str, Any]
) -> HttpResponse:
    """The form; after it the secret, which no other page ever shows."""
    form = TokenForm(request.POST or None)
    made = None
    if request.method == "POST" and form.is_valid():
        asked = form.cleaned_data
        days = asked["days"]
        try:
            made = create_reseller_token(
                staff_actor(request),
                account=account,
                name=asked["name"],
                may_write=asked["may_write"],
                expires=timezone.now() + timedelta(days=days) if days else None,
                networks=asked["networks"].split(),
            )
        except Refused as refusal:
            form.add_error(refusal.field if refusal.field in form.fields else None, refusal.message)
    context |= {"title": f"API token of {account}", "account": account, "form": form, "made": made}
    return render(request, "admin/accounts/new_token.html", context)
