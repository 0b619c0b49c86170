"""The frame of every page: the projects to choose from, and what must be said everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase
from django.db import DatabaseError
from django.db.models import F
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
    operates: frozenset[int] = frozenset()  # projects in which the reader is at least an operator
    administers: frozenset[int] = frozenset()

    @property
    def may_operate(self) -> bool:
        """Whether something can be added in the project in hand that an operator may add."""
        return self._in_hand(self.operates)

    @property
    def may_administer(self) -> bool:
        """The same of what only an administrator may add."""
        return self._in_hand(self.administers)

    def _in_hand(self, projects: frozenset[int]) -> bool:
        return self.project.pk in projects if self.project is not None else bool(projects)


def shell_of(request: HttpRequest | None) -> Shell:
    """The frame for this request; also for error pages, where anything may be missing."""
    projects: list[Project] = []
    chosen: Project | None = None
    told: list[Announcement] = []
    roles: dict[int, str] = {}
    simulated = False
    with _whatever_happens():
        simulated = Host.objects.filter(uri__startswith="fake:").exists()
        if request is not None and getattr(request, "user", None) is not None:
            actor = actor_from(request)
            rows = _with_roles(actor)
            projects = [project for project, _ in rows]
            roles = {project.pk: role for project, role in rows}
            chosen = _chosen(request.session, projects)
            told = current_announcements(actor)
    operates, administers = (
        frozenset(pk for pk, role in roles.items() if includes(role, needed))
        for needed in (Role.OPERATOR, Role.ADMIN)
    )
    return Shell(settings.SITE_NAME, simulated, projects, chosen, told, operates, administers)


@contextmanager
def _whatever_happens() -> Iterator[None]:
    """An error page must not fail because the database does."""
    try:
        yield
    except (DatabaseError, AttributeError):
        return


def projects_of(actor: Actor) -> list[Project]:
    """The actor's projects, by name."""
    return [project for project, _ in _with_roles(actor)]


def _with_roles(actor: Actor) -> list[tuple[Project, str]]:
    """The same, each with the person's role in it. One query."""
    rows = visible_projects(actor).annotate(own_role=F("members__role"))
    return [(project, project.own_role) for project in rows.order_by("account__name", "name")]


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
    rows = _with_roles(request.actor)
    projects, roles = [one for one, _ in rows], {one.pk: role for one, role in rows}
    if not projects:
        raise Refused(
            "forbidden", "You are not a member of any project yet. Ask its owner to invite you."
        )
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
