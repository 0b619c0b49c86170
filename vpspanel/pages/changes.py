"""Dialogs of a server that need more than a yes: rename, protect, rebuild, change plan, delete."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods

from vpspanel.errors import NotFound, Refused
from vpspanel.pages.actor import SignedInRequest
from vpspanel.pages.customer import customer_page
from vpspanel.pages.dialogs import render_dialog
from vpspanel.pages.forms import (
    ChangeTypeForm,
    DeleteForm,
    RebuildForm,
    RefusableForm,
    RenameForm,
)
from vpspanel.servers import services
from vpspanel.servers.access import get_server
from vpspanel.servers.models import Server
from vpspanel.servers.resizing import change_type as change_plan
from vpspanel.servers.resizing import plan_choices
from vpspanel.servers.states import Verb

METHODS = ["GET", "HEAD", "POST"]


def tried(form: RefusableForm, deed: Callable[[], object]) -> bool:
    """True if the form is complete and the service did it; else the form says why not.

    A refusal that is about no field is left to the page: it concerns the server.
    """
    if not form.is_valid():
        return False
    try:
        deed()
    except NotFound:
        raise
    except Refused as refusal:
        if refusal.field not in form.fields:
            raise
        form.refuse(refusal)
        return False
    return True


def show_dialog(
    request: SignedInRequest, verb: Verb, server: Server, form: RefusableForm, **more: Any
) -> HttpResponse:
    """The dialog of a verb, with what is wrong in its form."""
    context = {"server": server, "form": form, **more}
    status = 422 if form.errors else 200
    return render_dialog(request, f"servers/{verb}.html", context, status=status)


@customer_page
@require_http_methods(METHODS)
def rename(request: SignedInRequest, server_id: int) -> HttpResponse:
    """Give it another name."""
    server = get_server(request.actor, server_id, Verb.RENAME)
    form = RenameForm(request.POST or None, initial={"name": server.name})
    if request.method == "POST" and tried(
        form,
        lambda: services.rename(request.actor, server_id, name=form.cleaned_data["name"]),
    ):
        messages.success(request, f"Renamed to {form.cleaned_data['name'].strip().lower()}.")
        return redirect("servers:show", server_id=server_id)
    return show_dialog(request, Verb.RENAME, server, form)


@customer_page
@require_http_methods(METHODS)
def change_protection(request: SignedInRequest, server_id: int) -> HttpResponse:
    """Protect it, or no longer."""
    server = get_server(request.actor, server_id, Verb.CHANGE_PROTECTION)
    if request.method == "POST":
        on = request.POST.get("protect") == "on"
        services.change_protection(request.actor, server_id, delete=on, rebuild=on)
        said = "can no longer be deleted or rebuilt by mistake" if on else "is no longer protected"
        messages.success(request, f"{server.name} {said}.")
        return redirect("servers:show", server_id=server_id)
    return show_dialog(request, Verb.CHANGE_PROTECTION, server, RefusableForm())


@customer_page
@require_http_methods(METHODS)
def rebuild(request: SignedInRequest, server_id: int) -> HttpResponse:
    """Replace its disk by a fresh one."""
    server = get_server(request.actor, server_id, Verb.REBUILD)
    initial = {"image": server.image_id}
    form = RebuildForm(request.POST or None, project=server.project, initial=initial)

    def deed() -> None:
        keys = list(form.cleaned_data["ssh_keys"]) or None
        image = form.cleaned_data["image"]
        services.rebuild(request.actor, server_id, image=image, ssh_keys=keys)

    if request.method == "POST" and tried(form, deed):
        image = form.cleaned_data["image"]
        messages.success(request, f"{server.name} is being rebuilt with {image.description}.")
        return redirect("servers:show", server_id=server_id)
    keys = list(server.authorized_keys)
    return show_dialog(request, Verb.REBUILD, server, form, has_keys=bool(keys))


@customer_page
@require_http_methods(METHODS)
def change_type(request: SignedInRequest, server_id: int) -> HttpResponse:
    """Give it another plan."""
    server = get_server(request.actor, server_id, Verb.CHANGE_TYPE)
    form = ChangeTypeForm(request.POST or None, initial={"keep_disk": True})

    def deed() -> None:
        plan, keep_disk = form.cleaned_data["server_type"], form.cleaned_data["keep_disk"]
        change_plan(request.actor, server_id, server_type=plan, keep_disk=keep_disk)

    if request.method == "POST" and tried(form, deed):
        plan = form.cleaned_data["server_type"]
        messages.success(request, f"{server.name} gets the plan {plan.description or plan.name}.")
        return redirect("servers:show", server_id=server_id)
    chosen = str(form["server_type"].value() or "")
    choices = plan_choices(server)
    return show_dialog(request, Verb.CHANGE_TYPE, server, form, choices=choices, chosen=chosen)


@customer_page
@require_http_methods(METHODS)
def delete(request: SignedInRequest, server_id: int) -> HttpResponse:
    """Destroy it, once its name was typed."""
    server = get_server(request.actor, server_id, Verb.DELETE)
    form = DeleteForm(request.POST or None, expected=server.name)
    if request.method == "POST" and tried(form, lambda: services.delete(request.actor, server_id)):
        messages.success(request, f"{server.name} is being deleted.")
        return redirect("servers:show", server_id=server_id)
    return show_dialog(request, Verb.DELETE, server, form)
