"""Snapshots: make one of a server, list those of the projects, protect and delete them."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from vpspanel.accounts.models import Role
from vpspanel.pages.actor import SignedInRequest
from vpspanel.pages.changes import METHODS, show_dialog, tried
from vpspanel.pages.customer import customer_page
from vpspanel.pages.dialogs import render_dialog
from vpspanel.pages.forms import SnapshotForm
from vpspanel.pages.shell import chosen_project, projects_of
from vpspanel.servers import snapshots
from vpspanel.servers.access import get_server
from vpspanel.servers.images import get_image, image_owner, visible_images
from vpspanel.servers.states import Verb


@customer_page
@require_http_methods(METHODS)
def create_image(request: SignedInRequest, server_id: int) -> HttpResponse:
    """Make one of a server that is off."""
    server = get_server(request.actor, server_id, Verb.CREATE_IMAGE)
    initial = {"description": f"{server.name} {timezone.localdate():%Y-%m-%d}"}
    form = SnapshotForm(request.POST or None, initial=initial)

    def deed() -> None:
        description = form.cleaned_data["description"]
        snapshots.create_image(request.actor, server_id, description=description)

    if request.method == "POST" and tried(form, deed):
        messages.success(request, f"A snapshot of {server.name} is being made.")
        return redirect("servers:show", server_id=server_id)
    return show_dialog(request, Verb.CREATE_IMAGE, server, form)


@customer_page
@require_safe
def list_images(request: SignedInRequest) -> HttpResponse:
    """Those of the chosen project, or of all."""
    chosen = chosen_project(request)
    projects = [chosen] if chosen else projects_of(request.actor)
    names = {image_owner(project.pk): project.name for project in projects}
    images = visible_images(request.actor).filter(owner__in=names).order_by("-created", "-pk")
    rows = [(image, names[image.owner]) for image in images if image.owner is not None]
    return render(request, "snapshots/list.html", {"rows": rows, "many": len(projects) > 1})


@customer_page
@require_http_methods(METHODS)
def change_protection(request: SignedInRequest, image_id: int) -> HttpResponse:
    """Protect it from being deleted, or no longer."""
    image = get_image(request.actor, image_id, Role.ADMIN)
    if request.method == "POST":
        on = request.POST.get("protect") == "on"
        snapshots.change_image_protection(request.actor, image_id, delete=on)
        said = "can no longer be deleted by mistake" if on else "is no longer protected"
        messages.success(request, f"{image.description} {said}.")
        return redirect("snapshots:list")
    return render_dialog(request, "snapshots/change_protection.html", {"image": image})


@customer_page
@require_http_methods(METHODS)
def delete(request: SignedInRequest, image_id: int) -> HttpResponse:
    """Ask, then delete it."""
    image = get_image(request.actor, image_id, Role.ADMIN)
    if request.method == "POST":
        snapshots.delete_image(request.actor, image_id)
        messages.success(request, f"{image.description} was deleted.")
        return redirect("snapshots:list")
    return render_dialog(request, "snapshots/delete.html", {"image": image})
