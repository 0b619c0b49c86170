"""Which project somebody means who writes its number, or the mail address of its owner."""

from __future__ import annotations

from vpspanel.accounts.models import Project, Role
from vpspanel.errors import Refused


def project_named(named: str) -> Project:
    """The project. Raises `Refused` if there is none, or the owner has several."""
    text = named.strip()
    projects = Project.objects.select_related("account").filter(deleted_at=None).order_by("pk")
    if "@" in text:
        projects = projects.filter(members__user__email__iexact=text, members__role=Role.OWNER)
    elif text.isdecimal():
        projects = projects.filter(pk=int(text))
    else:
        projects = projects.none()
    found = list(projects[:10])
    if not found:
        raise Refused("not_found", f"There is no project {text}.", field="project")
    if len(found) > 1:
        known = ", ".join(f"{project.pk} ({project.name})" for project in found)
        sentence = f"{text} owns several projects: {known}. Name one by its number."
        raise Refused("invalid_input", sentence, field="project")
    return found[0]
