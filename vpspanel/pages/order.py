"""The order page."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from vpspanel.accounts.models import Project, Role
from vpspanel.errors import NotFound, Refused
from vpspanel.pages.actor import SignedInRequest
from vpspanel.pages.catalogue import Place, System, default_image, fits, places, systems
from vpspanel.pages.customer import customer_page
from vpspanel.pages.order_form import OrderForm, suggested_name
from vpspanel.pages.shell import working_project
from vpspanel.servers.groups import named_group
from vpspanel.servers.models import Server
from vpspanel.servers.ordering import offers, order_server


@customer_page
@require_http_methods(["GET", "HEAD", "POST"])
def order(request: SignedInRequest) -> HttpResponse:
    """Choose and order a server; the same form sent twice orders one."""
    project = working_project(request, Role.ADMIN)
    on_sale, offered = places(offers()), systems(project.pk)
    if request.method == "POST":
        form = OrderForm(request.POST, project=project)
        server = _order(request, project, form) if form.is_valid() else None
        if server is not None:
            messages.success(request, f"{server.name} is being built.")
            return redirect("servers:show", server_id=server.pk)
        form.forget_private_keys("new_key", "new_key_name")
    else:
        form = OrderForm(project=project, initial=_initial(project, on_sale, offered))
    context = {
        "form": form,
        "project": project,
        "places": on_sale,
        "systems": offered,
        "keys": list(project.ssh_keys.all()),
        "groups": list(project.placement_groups.all()),
        "chosen": _chosen(form),
        "place": _place_of(form, on_sale),
    }
    return render(request, "servers/order.html", context, status=422 if form.errors else 200)


def _order(request: SignedInRequest, project: Project, form: OrderForm) -> Server | None:
    """The server, or None with the reason in the form; a pasted key is kept only if it sells."""
    values = form.cleaned_data
    try:
        with transaction.atomic():
            ordered = order_server(
                request.actor,
                project=project,
                name=values["name"],
                server_type=values["plan"].server_type,
                location=values["plan"].location,
                image=values["image"],
                ssh_keys=form.chosen_keys(request.actor),
                user_data=values["user_data"],
                placement_group=(
                    named_group(request.actor, project, values["spread"])
                    if values["spread"]
                    else None
                ),
                protect=values["protect"],
                idempotency_key=f"page-{values['token']}",
            )
    except NotFound:
        raise
    except Refused as refusal:
        if refusal.code == "idempotency_key_reused":
            form.put("token", str(uuid.uuid4()))
            refusal = Refused(
                "conflict",
                "This form has been sent before and its server was ordered. "
                "Send it again if you want another one.",
            )
        form.refuse(refusal)
        return None
    return ordered.server


def _initial(project: Project, on_sale: list[Place], offered: list[System]) -> dict[str, Any]:
    """A fresh form: a free name, an image, the first plan that is large enough for it, one key.

    A key is chosen only if there is no other: which of several is not guessed.
    """
    keys = list(project.ssh_keys.all()[:2])
    image = default_image(offered)
    sellable = [offer for place in on_sale for offer in place.offers if not offer.sold_out]
    fitting = (offer for offer in sellable if image is None or fits(image, offer.server_type))
    first = next(fitting, None)
    return {
        "token": str(uuid.uuid4()),
        "name": suggested_name(project),
        "image": image.pk if image else None,
        "plan": first.price.pk if first else None,
        "ssh_keys": [key.pk for key in keys] if len(keys) == 1 else [],
    }


def _chosen(form: OrderForm) -> dict[str, set[str]]:
    """What is ticked, as text, so that the template compares like with like."""
    chosen: dict[str, set[str]] = {}
    for name in ("plan", "image", "ssh_keys"):
        value = form[name].value()
        values = value if isinstance(value, list | tuple) else [value]
        chosen[name] = {str(item) for item in values if item is not None}
    return chosen


def _place_of(form: OrderForm, on_sale: list[Place]) -> int | None:
    """The location to show first: that of the chosen plan."""
    plan = str(form["plan"].value())
    for place in on_sale:
        if any(str(offer.price.pk) == plan for offer in place.offers):
            return place.location.pk
    return on_sale[0].location.pk if on_sale else None
