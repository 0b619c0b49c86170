"""What happens around signing up, beyond what allauth does."""

from __future__ import annotations

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from django.db import transaction
from django.forms import Form
from django.http import HttpRequest

from vpspanel.accounts.models import User
from vpspanel.accounts.services import open_account
from vpspanel.events.actor import Actor


class AccountAdapter(DefaultAccountAdapter):
    """allauth's adapter that also opens an account, so that a new user can order at once."""

    def save_user(self, request: HttpRequest, user: User, form: Form, commit: bool = True) -> User:
        """The new user with an account and a project of its own: both or neither."""
        with transaction.atomic():
            saved: User = super().save_user(request, user, form, commit=commit)
            if commit:
                actor = Actor(saved, "page", self.get_client_ip(request))
                open_account(user=saved, name=saved.email[:120], actor=actor)
        return saved

    def get_client_ip(self, request: HttpRequest) -> str | None:
        """The visitor's address, as far as the configured proxies may be believed."""
        address: Any = super().get_client_ip(request)
        return str(address) if address else None
