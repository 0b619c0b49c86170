"""The projects of a reseller and of its customers."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from vpspanel.accounts.models import Project
from vpspanel.accounts.resellers import create_project, rename_project
from vpspanel.accounts.tree import projects_in
from vpspanel.api.auth import Whose
from vpspanel.api.bodies import Body, Text, body_of
from vpspanel.api.describing import answers, lists
from vpspanel.api.listing import LARGEST_ID, ids, named, ordered, page_of
from vpspanel.api.shapes.accounts import ProjectShape, project_shape
from vpspanel.api.view import ApiView, PostView
from vpspanel.errors import NotFound
from vpspanel.servers.projects import delete_project

COLUMNS = {"id": "id", "name": "name", "created": "created"}


class NewProject(Body):
    """A project, and whose it is."""

    name = Text(max_length=200)
    account = serializers.IntegerField(min_value=1, max_value=LARGEST_ID)


class ChangedProject(Body):
    """What is to change."""

    name = Text(max_length=200)


class ResellersProjects(ApiView):
    """Finds the projects of the token's account and of those below."""

    whose = Whose.RESELLER

    @property
    def projects(self) -> QuerySet[Project]:
        """All of them."""
        return projects_in(self.reseller.pk)

    def one_project(self, pk: int) -> Project:
        """One of them. Raises `NotFound`."""
        found = self.projects.filter(pk=pk).first()
        if found is None:
            raise NotFound("project")
        return found


class Projects(ResellersProjects, PostView):
    """All projects."""

    @lists(
        "List projects",
        "projects",
        ProjectShape,
        sort=COLUMNS,
        filters={"name": (), "account": ()},
    )
    def get(self, request: Request) -> Response:
        """A page of them."""
        rows = named(request, self.projects)
        if accounts := ids(request, "account"):
            rows = rows.filter(account__in=accounts)
        return page_of(request, "projects", ordered(request, rows, COLUMNS), _shapes)

    @answers("Make a project", status=201, body=NewProject, project=ProjectShape)
    def create(self, request: Request, **ids: int) -> Response:
        """Make one."""
        asked = body_of(request, NewProject)
        project = create_project(self.actor, account_id=asked["account"], name=asked["name"])
        return Response({"project": project_shape(project)}, 201)


class OneProject(ResellersProjects):
    """A project."""

    @answers("Get a project", project=ProjectShape)
    def get(self, request: Request, pk: int) -> Response:
        """It."""
        return Response({"project": project_shape(self.one_project(pk))})

    @answers("Rename a project", body=ChangedProject, project=ProjectShape)
    def put(self, request: Request, pk: int) -> Response:
        """Give it another name."""
        self.one_project(pk)
        project = rename_project(self.actor, pk, **body_of(request, ChangedProject))
        return Response({"project": project_shape(project)})

    @answers("Delete an empty project")
    def delete(self, request: Request, pk: int) -> Response:
        """End it, with its keys, tokens and webhooks."""
        delete_project(self.actor, pk)
        return Response(status=204)


def _shapes(page: Iterable[Project]) -> list[ProjectShape]:
    return [project_shape(project) for project in page]
