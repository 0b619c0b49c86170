"""The frame of every page: the projects to choose from, and what must be said everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase
from django.db import DatabaseError
from django.http import HttpRequest

from hosts.models import Host
from vpspanel.accounts.models import Project, Role
from vpspanel.errors import Refused
from vpspanel.events.actor import Actor
from vpspanel.pages.actor import SignedInRequest, actor_from
from vpspanel.servers.access import includes, visible_projects
from vpspanel.servers.announcements import current_announcements
from vpspanel.servers.models_announcement import Announcement

_CHOSEN = "project"


@dataclass(frozen=True, slots=True)
class Shell:
    """What base.html shows around a page."""

    site_name: str
    simulated: bool
    projects: list[Project]
    project: Project | None
    announcements: list[Announcement]


def shell_of(request: HttpRequest | None) -> Shell:
    """The frame for this request; also for error pages, where anything may be missing."""
    projects: list[Project] = []
    chosen: Project | None = None
    told: list[Announcement] = []
    simulated = False
    with _whatever_happens():
        simulated = Host.objects.filter(uri__startswith="fake:").exists()
        if request is not None and getattr(request, "user", None) is not None:
            actor = actor_from(request)
            projects = projects_of(actor)
            chosen = _chosen(request.session, projects)
            told = current_announcements(actor)
    return Shell(settings.SITE_NAME, simulated, projects, chosen, told)


@contextmanager
def _whatever_happens() -> Iterator[None]:
    """An error page must not fail because the database does."""
    try:
        yield
    except (DatabaseError, AttributeError):
        return


def projects_of(actor: Actor) -> list[Project]:
    """The actor's projects, by name."""
    return list(visible_projects(actor).order_by("account__name", "name"))


def _chosen(session: SessionBase, projects: list[Project]) -> Project | None:
    wanted = session.get(_CHOSEN)
    return next((project for project in projects if project.pk == wanted), None)


def choose_project(request: SignedInRequest, project: Project | None) -> None:
    """Remember it for this session; None stands for all."""
    if project is None:
        request.session.pop(_CHOSEN, None)
    else:
        request.session[_CHOSEN] = project.pk


def chosen_project(request: SignedInRequest) -> Project | None:
    """The one to show, or None for all."""
    return _chosen(request.session, projects_of(request.actor))


def working_project(request: SignedInRequest, role: Role = Role.OPERATOR) -> Project:
    """The one to work in: the chosen one, else the first in which the user has the role.

    Raises `Refused("forbidden")` with the reason if there is none.
    """
    projects = projects_of(request.actor)
    if not projects:
        raise Refused(
            "forbidden", "You are not a member of any project yet. Ask its owner to invite you."
        )
    roles = dict(request.user.memberships.values_list("project_id", "role"))
    chosen = _chosen(request.session, projects)
    for project in [chosen] if chosen is not None else projects:
        if includes(roles[project.pk], role):
            return project
    project = chosen or projects[0]
    has = Role(roles[project.pk])
    raise Refused(
        "forbidden",
        f"Your role in the project {project.name} is {has.label}; this needs {role.label}.",
    )
