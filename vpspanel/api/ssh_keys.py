"""SSH keys."""

from __future__ import annotations

from collections.abc import Iterable

from rest_framework.request import Request
from rest_framework.response import Response

from vpspanel.accounts.models import SSHKey
from vpspanel.accounts.services import add_ssh_key, delete_ssh_key, update_ssh_key
from vpspanel.api.bodies import Body, Labels, Text, body_of
from vpspanel.api.describing import answers, lists
from vpspanel.api.listing import named, ordered, page_of
from vpspanel.api.selecting import selected
from vpspanel.api.shapes.keys import KeyShape, key_shape
from vpspanel.api.view import ApiView, PostView
from vpspanel.errors import NotFound

COLUMNS = {"id": "id", "name": "name", "created": "created"}


class NewKey(Body):
    """A key to add."""

    name = Text(max_length=200)
    public_key = Text(max_length=20_000)
    labels = Labels(required=False)


class ChangedKey(Body):
    """What is to change."""

    name = Text(max_length=200, required=False)
    labels = Labels(required=False)


class Keys(PostView):
    """The keys of the project."""

    @lists(
        "List SSH keys",
        "ssh_keys",
        KeyShape,
        sort=COLUMNS,
        filters={"name": (), "label_selector": (), "fingerprint": ()},
    )
    def get(self, request: Request) -> Response:
        """A page of them."""
        rows = selected(request, named(request, self.project.ssh_keys.all()))
        if fingerprint := request.query_params.get("fingerprint"):
            rows = rows.filter(fingerprint=fingerprint)
        return page_of(request, "ssh_keys", ordered(request, rows, COLUMNS), _shapes)

    @answers("Add an SSH key", status=201, body=NewKey, ssh_key=KeyShape)
    def create(self, request: Request, **ids: int) -> Response:
        """Keep another one."""
        key = add_ssh_key(self.actor, project=self.project, **body_of(request, NewKey))
        return Response({"ssh_key": key_shape(key)}, 201)


class OneKey(ApiView):
    """A key of the project."""

    @answers("Get an SSH key", ssh_key=KeyShape)
    def get(self, request: Request, pk: int) -> Response:
        """It."""
        key = self.project.ssh_keys.filter(pk=pk).first()
        if key is None:
            raise NotFound("SSH key")
        return Response({"ssh_key": key_shape(key)})

    @answers("Rename or label an SSH key", body=ChangedKey, ssh_key=KeyShape)
    def put(self, request: Request, pk: int) -> Response:
        """Change its name or its labels."""
        changes = body_of(request, ChangedKey)
        key = update_ssh_key(self.actor, project=self.project, key_id=pk, **changes)
        return Response({"ssh_key": key_shape(key)})

    @answers("Delete an SSH key")
    def delete(self, request: Request, pk: int) -> Response:
        """Forget it."""
        delete_ssh_key(self.actor, project=self.project, key_id=pk)
        return Response(status=204)


def _shapes(page: Iterable[SSHKey]) -> list[KeyShape]:
    return [key_shape(key) for key in page]
