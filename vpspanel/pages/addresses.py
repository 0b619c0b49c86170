"""The project's addresses: list, buy, change, protect, give to a server, take away, give back."""

from __future__ import annotations

from typing import cast

from django import forms
from django.contrib import messages
from django.http import HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from hosts.models import Family, Location
from vpspanel.accounts.models import Role
from vpspanel.errors import Refused
from vpspanel.pages.actor import SignedInRequest
from vpspanel.pages.changes import METHODS
from vpspanel.pages.customer import customer_page
from vpspanel.pages.dialogs import render_dialog
from vpspanel.pages.forms import RefusableForm
from vpspanel.pages.shell import chosen_project, projects_of, working_project
from vpspanel.pages.shown import shown_addresses
from vpspanel.servers import addresses
from vpspanel.servers.access import visible_primary_ips
from vpspanel.servers.models import NO_SECRETS, Lifecycle, PrimaryIP, Server


class AddressForm(RefusableForm):
    """What an address is called, and whether it stays when its server goes."""

    name = forms.CharField(
        label="Name",
        max_length=63,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    keep = forms.BooleanField(
        label="Keep it when its server is deleted", required=False, initial=True
    )


class PlaceChoice(forms.ModelChoiceField):  # type: ignore[type-arg]
    """Locations by what customers call them."""

    def label_from_instance(self, location: Location) -> str:
        """The city and the name."""
        return f"{location.city} ({location.name})" if location.city else location.name


class NewAddressForm(AddressForm):
    """Where, and of which family."""

    family = forms.TypedChoiceField(
        label="Family",
        choices=[(family.value, family.label) for family in Family],
        coerce=lambda value: Family(int(value)),
        widget=forms.RadioSelect(attrs={"class": "form-check-input"}),
        initial=Family.V4,
    )
    location = PlaceChoice(
        Location.objects.all(),
        label="Location",
        empty_label=None,
        help_text="Only servers of this location can have it.",
    )
    field_order = ("name", "location", "family", "keep")


class ServerChoice(forms.ModelChoiceField):  # type: ignore[type-arg]
    """Servers by name."""

    def label_from_instance(self, server: Server) -> str:
        """Its name."""
        return server.name


class AssignForm(RefusableForm):
    """Which server is to have it: one of its project and location without one of its family."""

    server = ServerChoice(
        Server.objects.none(),
        label="Server",
        empty_label=None,
        error_messages={"required": "Choose a server.", "invalid_choice": "Choose a server."},
    )

    def __init__(self, *args: object, ip: PrimaryIP, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        have = PrimaryIP.objects.filter(
            server__project_id=ip.project_id, address__family=ip.address.family
        )
        fitting = Server.objects.filter(
            project_id=ip.project_id,
            location_id=ip.address.pool.location_id,
            lifecycle=Lifecycle.ACTIVE,
        ).exclude(pk__in=have.values("server"))
        field = cast(ServerChoice, self.fields["server"])
        field.queryset = fitting.defer(*NO_SECRETS).order_by("name")


@customer_page
@require_safe
def list_addresses(request: SignedInRequest) -> HttpResponse:
    """Those of the chosen project, or of all, with and without a server."""
    chosen = chosen_project(request)
    projects = [chosen] if chosen else projects_of(request.actor)
    rows = visible_primary_ips(request.actor).filter(project__in=projects)
    rows = rows.select_related("address__pool__location", "server", "project")
    rows = rows.order_by("address__family", "name", "pk").defer(
        *(f"server__{secret}" for secret in NO_SECRETS)
    )
    listed = [(ip, shown_addresses([ip])[0]) for ip in rows]
    return render(request, "addresses/list.html", {"rows": listed, "many": len(projects) > 1})


@customer_page
@require_http_methods(METHODS)
def add(request: SignedInRequest) -> HttpResponse:
    """Take a fresh one, without a server."""
    project = working_project(request, Role.ADMIN)
    form = NewAddressForm(_sent(request))

    def deed() -> None:
        data = form.cleaned_data
        bought = addresses.buy_primary_ip(
            request.actor,
            project=project,
            name=data["name"],
            family=data["family"],
            location=data["location"],
            auto_delete=not data["keep"],
        )
        messages.success(request, f"{bought.ip} is yours.")

    if request.method == "POST" and form.done(deed):
        return redirect("addresses:list")
    return _dialog(request, "add", form, project=project)


@customer_page
@require_http_methods(METHODS)
def change(request: SignedInRequest, ip_id: int) -> HttpResponse:
    """Call it otherwise, or let it stay or go with its server."""
    ip = _changeable(request, ip_id)
    form = AddressForm(_sent(request), initial={"name": ip.name, "keep": not ip.auto_delete})

    def deed() -> None:
        name, keep = form.cleaned_data["name"], form.cleaned_data["keep"]
        addresses.change_primary_ip(request.actor, ip_id, name=name, auto_delete=not keep)

    if request.method == "POST" and form.done(deed):
        return redirect("addresses:list")
    return _dialog(request, "change", form, ip=ip)


@customer_page
@require_http_methods(METHODS)
def change_protection(request: SignedInRequest, ip_id: int) -> HttpResponse:
    """Protect it from being deleted, also with its server, or no longer."""
    ip = _changeable(request, ip_id)
    form = RefusableForm(_sent(request))
    on = request.POST.get("protect") == "on"

    def deed() -> None:
        addresses.protect_primary_ip(request.actor, ip_id, delete=on)
        said = "can no longer be deleted by mistake" if on else "is no longer protected"
        messages.success(request, f"{ip} {said}.")

    if request.method == "POST" and form.done(deed):
        return redirect("addresses:list")
    return _dialog(request, "change_protection", form, ip=ip)


@customer_page
@require_http_methods(METHODS)
def assign(request: SignedInRequest, ip_id: int) -> HttpResponse:
    """Give it to a server that is off."""
    ip = _changeable(request, ip_id)
    form = AssignForm(_sent(request), ip=ip)

    def deed() -> None:
        server = form.cleaned_data["server"]
        addresses.assign_primary_ip(request.actor, ip_id, server.pk)
        messages.success(request, f"{server.name} gets {ip}.")

    if request.method == "POST" and form.done(deed):
        return redirect("servers:show", server_id=form.cleaned_data["server"].pk)
    return _dialog(request, "assign", form, ip=ip)


@customer_page
@require_http_methods(METHODS)
def unassign(request: SignedInRequest, ip_id: int) -> HttpResponse:
    """Take it from its server, which must be off, and keep it."""
    ip = _changeable(request, ip_id)
    if ip.server is None:
        raise Refused("conflict", "No server has it.")
    form, server = RefusableForm(_sent(request)), ip.server

    def deed() -> None:
        addresses.unassign_primary_ip(request.actor, ip_id)
        messages.success(request, f"{ip} is being taken from {server.name}.")

    if request.method == "POST" and form.done(deed):
        return redirect("servers:show", server_id=server.pk)
    return _dialog(request, "unassign", form, ip=ip)


@customer_page
@require_http_methods(METHODS)
def delete(request: SignedInRequest, ip_id: int) -> HttpResponse:
    """Ask, then give it back for good."""
    ip = _changeable(request, ip_id)
    form = RefusableForm(_sent(request))

    def deed() -> None:
        addresses.delete_primary_ip(request.actor, ip_id)
        told = f"is being taken from {ip.server.name} and given back" if ip.server else "is deleted"
        messages.success(request, f"{ip} {told}.")

    if request.method == "POST" and form.done(deed):
        return redirect("addresses:list")
    return _dialog(request, "delete", form, ip=ip)


def _sent(request: SignedInRequest) -> QueryDict | None:
    """What was posted, also if it is nothing: some questions only want a yes."""
    return request.POST if request.method == "POST" else None


def _changeable(request: SignedInRequest, ip_id: int) -> PrimaryIP:
    """The address, for those who may change it."""
    return addresses.get_primary_ip(request.actor, ip_id, Role.ADMIN)


def _dialog(
    request: SignedInRequest, name: str, form: RefusableForm, **more: object
) -> HttpResponse:
    context = {"form": form, **more}
    status = 422 if form.errors else 200
    return render_dialog(request, f"addresses/{name}.html", context, status=status)
