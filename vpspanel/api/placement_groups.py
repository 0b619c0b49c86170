"""Placement groups: servers of one do not share a host."""

from __future__ import annotations

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from vpspanel.api.bodies import Body, Labels, Text, body_of
from vpspanel.api.describing import answers, lists
from vpspanel.api.listing import choices, named, ordered, page_of
from vpspanel.api.selecting import selected
from vpspanel.api.shapes.groups import GroupShape, group_shape, group_shapes
from vpspanel.api.view import ApiView, PostView
from vpspanel.servers.groups import (
    change_group,
    create_group,
    delete_group,
    get_group,
    visible_groups,
)

COLUMNS = {"id": "id", "name": "name", "created": "created"}
TYPES = ("spread",)


class NewGroup(Body):
    """What it is called. There is one type."""

    name = Text(max_length=200)
    type = serializers.ChoiceField(TYPES, required=False)
    labels = Labels(required=False)


class ChangedGroup(Body):
    """What is to change."""

    name = Text(max_length=200, required=False)
    labels = Labels(required=False)


class Groups(PostView):
    """The placement groups of the project."""

    @lists(
        "List placement groups",
        "placement_groups",
        GroupShape,
        sort=COLUMNS,
        filters={"name": (), "label_selector": (), "type": TYPES},
    )
    def get(self, request: Request) -> Response:
        """A page of them."""
        rows = selected(request, named(request, visible_groups(self.actor)))
        if types := choices(request, "type", TYPES):
            rows = rows.filter(type__in=types)
        rows = ordered(request, rows, COLUMNS)
        return page_of(request, "placement_groups", rows, group_shapes)

    @answers(
        "Make a placement group",
        status=201,
        body=NewGroup,
        placement_group=GroupShape,
        action=None,
    )
    def create(self, request: Request, **ids: int) -> Response:
        """Make another one."""
        asked = body_of(request, NewGroup)
        asked.pop("type", None)
        group = create_group(self.actor, project=self.project, **asked)
        return Response({"placement_group": group_shape(group), "action": None}, 201)


class OneGroup(ApiView):
    """A placement group of the project."""

    @answers("Get a placement group", placement_group=GroupShape)
    def get(self, request: Request, pk: int) -> Response:
        """It."""
        return Response({"placement_group": group_shape(get_group(self.actor, pk))})

    @answers("Rename or label a placement group", body=ChangedGroup, placement_group=GroupShape)
    def put(self, request: Request, pk: int) -> Response:
        """Change its name or its labels."""
        group = change_group(self.actor, pk, **body_of(request, ChangedGroup))
        return Response({"placement_group": group_shape(group)})

    @answers("Delete a placement group")
    def delete(self, request: Request, pk: int) -> Response:
        """Forget it; it must be empty."""
        delete_group(self.actor, pk)
        return Response(status=204)
