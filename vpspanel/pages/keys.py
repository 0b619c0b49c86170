"""SSH keys: list, add, delete."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from vpspanel.accounts.models import SSHKey
from vpspanel.accounts.services import add_ssh_key, delete_ssh_key, require_key_role
from vpspanel.errors import NotFound, Refused
from vpspanel.pages.actor import SignedInRequest
from vpspanel.pages.customer import customer_page
from vpspanel.pages.dialogs import render_dialog
from vpspanel.pages.forms import KeyForm
from vpspanel.pages.shell import chosen_project, projects_of, working_project


@customer_page
@require_safe
def list_keys(request: SignedInRequest) -> HttpResponse:
    """The keys of the chosen project, or of all."""
    chosen = chosen_project(request)
    projects = [chosen] if chosen else projects_of(request.actor)
    keys = SSHKey.objects.filter(project__in=projects).select_related("project")
    return render(request, "keys/list.html", {"keys": keys, "many": len(projects) > 1})


@customer_page
@require_http_methods(["GET", "HEAD", "POST"])
def add_key(request: SignedInRequest) -> HttpResponse:
    """Paste a key."""
    project = working_project(request)
    form = KeyForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            key = add_ssh_key(
                request.actor,
                project=project,
                name=form.cleaned_data["name"],
                public_key=form.cleaned_data["public_key"],
            )
        except NotFound:
            raise
        except Refused as refusal:
            form.refuse(refusal)
        else:
            messages.success(request, f"SSH key {key.name} was added.")
            return redirect("keys:list")
    form.forget_private_keys("public_key", "name")
    status = 422 if form.errors else 200
    context = {"form": form, "project": project}
    return render_dialog(request, "keys/add.html", context, status=status)


@customer_page
@require_http_methods(["GET", "HEAD", "POST"])
def delete_key(request: SignedInRequest, key_id: int) -> HttpResponse:
    """Ask, then forget a key."""
    projects = projects_of(request.actor)
    key = SSHKey.objects.filter(pk=key_id, project__in=projects).select_related("project").first()
    if key is None:
        raise NotFound("SSH key")
    require_key_role(request.actor, key.project)
    if request.method == "POST":
        delete_ssh_key(request.actor, project=key.project, key_id=key.pk)
        messages.success(request, f"SSH key {key.name} was deleted.")
        return redirect("keys:list")
    return render_dialog(request, "keys/delete.html", {"key": key})
