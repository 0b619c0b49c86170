"""Webhooks: list, make, change, look at the log, try, end."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from vpspanel.accounts.models import Role
from vpspanel.errors import NotFound, Refused
from vpspanel.pages.actor import SignedInRequest
from vpspanel.pages.customer import customer_page
from vpspanel.pages.dialogs import render_dialog
from vpspanel.pages.forms import RefusableForm
from vpspanel.pages.shell import chosen_project, projects_of, working_project
from vpspanel.webhooks import services
from vpspanel.webhooks.models import Webhook

PER_PAGE = 25


class WebhookForm(RefusableForm):
    """Whom to tell, and of what."""

    name = forms.CharField(
        label="Name",
        max_length=services.NAME_LENGTH,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    url = forms.CharField(
        label="Address",
        max_length=500,
        help_text="Messages are sent here with POST, over TLS.",
        widget=forms.TextInput(
            attrs={"inputmode": "url", "spellcheck": "false", "placeholder": "https://…"}
        ),
    )
    kinds = forms.CharField(
        label="Only of these",
        required=False,
        max_length=4000,
        help_text="Kinds of events such as server.started or server.*, one on each line. "
        "Empty: everything in the project.",
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false", "autocapitalize": "off"}),
    )

    def wanted(self) -> dict[str, Any]:
        """What the service takes."""
        data = self.cleaned_data
        return {"name": data["name"], "url": data["url"], "kinds": data["kinds"].split()}


@customer_page
@require_safe
def list_webhooks(request: SignedInRequest) -> HttpResponse:
    """The webhooks of the chosen project, or of all."""
    chosen = chosen_project(request)
    projects = [chosen] if chosen else projects_of(request.actor)
    webhooks = Webhook.objects.filter(project__in=projects).select_related("project")
    return render(request, "webhooks/list.html", {"webhooks": webhooks, "many": len(projects) > 1})


@customer_page
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def add(request: SignedInRequest) -> HttpResponse:
    """Say whom to tell; the answer shows the secret, and nothing else ever does."""
    project = working_project(request, Role.ADMIN)
    form = WebhookForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            made = services.create_webhook(request.actor, owner=project, **form.wanted())
        except NotFound:
            raise
        except Refused as refusal:
            form.refuse(refusal)
        else:
            return _show_secret(request, made)
    context = {"form": form, "project": project}
    return render_dialog(request, "webhooks/add.html", context, status=422 if form.errors else 200)


@customer_page
@require_safe
def show(request: SignedInRequest, webhook_id: int) -> HttpResponse:
    """One, with the log of what was sent."""
    webhook = _existing(request, webhook_id)
    rows = webhook.deliveries.select_related("event")
    page = Paginator(rows, PER_PAGE).get_page(request.GET.get("page"))
    return render(request, "webhooks/show.html", {"webhook": webhook, "page": page})


@customer_page
@require_http_methods(["GET", "HEAD", "POST"])
def change(request: SignedInRequest, webhook_id: int) -> HttpResponse:
    """Another name, address or choice of kinds."""
    webhook = _existing(request, webhook_id)
    services.require_webhook_role(request.actor, services.owner_of(webhook))
    now = {"name": webhook.name, "url": webhook.url, "kinds": "\n".join(webhook.kinds)}
    form = WebhookForm(request.POST or None, initial=now)
    if request.method == "POST" and form.is_valid():
        try:
            services.update_webhook(request.actor, webhook, **form.wanted())
        except Refused as refusal:
            form.refuse(refusal)
        else:
            return redirect("webhooks:show", webhook_id=webhook.pk)
    context = {"form": form, "webhook": webhook}
    return render_dialog(
        request, "webhooks/change.html", context, status=422 if form.errors else 200
    )


@customer_page
@require_POST
def switch(request: SignedInRequest, webhook_id: int) -> HttpResponse:
    """Turn it on or off."""
    webhook = _existing(request, webhook_id)
    services.update_webhook(request.actor, webhook, active=not webhook.active)
    return redirect("webhooks:show", webhook_id=webhook.pk)


@customer_page
@require_POST
def test(request: SignedInRequest, webhook_id: int) -> HttpResponse:
    """Send something to try it with."""
    webhook = _existing(request, webhook_id)
    return _told(request, webhook, lambda: services.send_test(request.actor, webhook))


@customer_page
@require_POST
def redeliver(request: SignedInRequest, webhook_id: int, delivery_id: int) -> HttpResponse:
    """Send a message once more."""
    webhook = _existing(request, webhook_id)
    rows = webhook.deliveries.select_related("webhook__project", "event")
    delivery = rows.filter(pk=delivery_id).first()
    if delivery is None:
        raise NotFound("delivery")
    return _told(request, webhook, lambda: services.redeliver(request.actor, delivery))


@customer_page
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def rotate(request: SignedInRequest, webhook_id: int) -> HttpResponse:
    """Ask, then make a new secret and show it."""
    webhook = _existing(request, webhook_id)
    services.require_webhook_role(request.actor, services.owner_of(webhook))
    if request.method == "POST":
        return _show_secret(request, services.rotate_secret(request.actor, webhook))
    return render_dialog(request, "webhooks/rotate.html", {"webhook": webhook})


@customer_page
@require_http_methods(["GET", "HEAD", "POST"])
def delete(request: SignedInRequest, webhook_id: int) -> HttpResponse:
    """Ask, then forget it."""
    webhook = _existing(request, webhook_id)
    services.require_webhook_role(request.actor, services.owner_of(webhook))
    if request.method == "POST":
        services.delete_webhook(request.actor, webhook)
        messages.success(request, f"Webhook {webhook.name} was deleted.")
        return redirect("webhooks:list")
    return render_dialog(request, "webhooks/delete.html", {"webhook": webhook})


def _existing(request: SignedInRequest, webhook_id: int) -> Webhook:
    mine = Webhook.objects.filter(project__in=projects_of(request.actor))
    webhook = mine.select_related("project__account").filter(pk=webhook_id).first()
    if webhook is None:
        raise NotFound("webhook")
    return webhook


def _told(request: SignedInRequest, webhook: Webhook, ask: Any) -> HttpResponse:
    """Back to the log, with the reason if it was refused."""
    try:
        ask()
    except Refused as refusal:
        if refusal.code == "forbidden":
            raise
        messages.error(request, refusal.message)
    else:
        messages.success(request, "The message is on its way.")
    return redirect("webhooks:show", webhook_id=webhook.pk)


def _show_secret(request: SignedInRequest, made: services.MadeWebhook) -> HttpResponse:
    context = {"webhook": made.webhook, "secret": made.secret}
    return render_dialog(request, "webhooks/secret.html", context)
