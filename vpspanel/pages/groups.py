"""Placement groups: list, make, rename, fill, delete."""

from __future__ import annotations

from typing import cast

from django import forms
from django.contrib import messages
from django.db.models import Prefetch
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from vpspanel.accounts.models import Project, Role
from vpspanel.errors import Refused
from vpspanel.pages.actor import SignedInRequest
from vpspanel.pages.customer import customer_page
from vpspanel.pages.dialogs import render_dialog
from vpspanel.pages.forms import RefusableForm
from vpspanel.pages.shell import chosen_project, projects_of, working_project
from vpspanel.servers import groups
from vpspanel.servers.access import get_project, visible_servers
from vpspanel.servers.models import NO_SECRETS, Lifecycle, PlacementGroup, Server


class GroupForm(RefusableForm):
    """What a group is called."""

    name = forms.CharField(
        label="Name",
        max_length=63,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )


class JoinForm(RefusableForm):
    """Which server of the project to put in."""

    server = forms.ModelChoiceField(
        Server.objects.none(),
        label="Server",
        error_messages={"required": "Choose a server.", "invalid_choice": "Choose a server."},
    )

    def __init__(self, *args: object, project: Project, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        free = project.servers.filter(placement_group=None, lifecycle=Lifecycle.ACTIVE)
        field = cast("forms.ModelChoiceField[Server]", self.fields["server"])
        field.queryset = free.defer(*NO_SECRETS).order_by("name")


@customer_page
@require_safe
def list_groups(request: SignedInRequest) -> HttpResponse:
    """The groups of the chosen project, or of all, with who is in them."""
    chosen = chosen_project(request)
    projects = [chosen] if chosen else projects_of(request.actor)
    members = visible_servers(request.actor).only("name", "placement_group").order_by("name")
    rows = PlacementGroup.objects.filter(project__in=projects).select_related("project")
    rows = rows.prefetch_related(Prefetch("servers", members, to_attr="members"))
    return render(request, "groups/list.html", {"groups": rows, "many": len(projects) > 1})


@customer_page
@require_http_methods(["GET", "HEAD", "POST"])
def add(request: SignedInRequest) -> HttpResponse:
    """Make one."""
    project = working_project(request, Role.ADMIN)
    form = GroupForm(request.POST or None)

    def deed() -> None:
        groups.create_group(request.actor, project=project, name=form.cleaned_data["name"])

    if request.method == "POST" and form.done(deed):
        return redirect("groups:list")
    context = {"form": form, "project": project}
    return render_dialog(request, "groups/add.html", context, status=422 if form.errors else 200)


@customer_page
@require_http_methods(["GET", "HEAD", "POST"])
def rename(request: SignedInRequest, group_id: int) -> HttpResponse:
    """Call it otherwise."""
    group = _changeable(request, group_id)
    form = GroupForm(request.POST or None, initial={"name": group.name})

    def deed() -> None:
        groups.change_group(request.actor, group.pk, name=form.cleaned_data["name"])

    if request.method == "POST" and form.done(deed):
        return redirect("groups:list")
    context = {"form": form, "group": group}
    return render_dialog(request, "groups/rename.html", context, status=422 if form.errors else 200)


@customer_page
@require_http_methods(["GET", "HEAD", "POST"])
def join(request: SignedInRequest, group_id: int) -> HttpResponse:
    """Put a server in."""
    group = _changeable(request, group_id)
    form = JoinForm(request.POST or None, project=group.project)

    def deed() -> None:
        groups.join_group(request.actor, form.cleaned_data["server"].pk, group)

    if request.method == "POST" and form.done(deed):
        return redirect("groups:list")
    context = {"form": form, "group": group}
    return render_dialog(request, "groups/join.html", context, status=422 if form.errors else 200)


@customer_page
@require_POST
def leave(request: SignedInRequest, server_id: int) -> HttpResponse:
    """Take a server out of its group."""
    groups.leave_group(request.actor, server_id)
    return redirect("groups:list")


@customer_page
@require_http_methods(["GET", "HEAD", "POST"])
def delete(request: SignedInRequest, group_id: int) -> HttpResponse:
    """Ask, then forget an empty one."""
    group = _changeable(request, group_id)
    if request.method == "POST":
        try:
            groups.delete_group(request.actor, group.pk)
        except Refused as refusal:
            messages.error(request, refusal.message)
        else:
            messages.success(request, f"Placement group {group.name} was deleted.")
        return redirect("groups:list")
    return render_dialog(request, "groups/delete.html", {"group": group})


def _changeable(request: SignedInRequest, group_id: int) -> PlacementGroup:
    """The group, for those who may change it."""
    group = groups.get_group(request.actor, group_id)
    get_project(request.actor, group.project_id, Role.ADMIN)
    return group
