"""The actions queue for staff: what runs, what failed and why, what waits for a person.

Only the engine writes an action. Staff may cancel what has not begun, let go
on what was parked, and have it undone; all through the services, so all leave an event.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.defaultfilters import truncatechars
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from vpspanel.actions import services
from vpspanel.actions.models import Action, ActionState, StepRecord
from vpspanel.errors import Refused
from vpspanel.events.actor import Actor
from vpspanel.events.staff import (
    STYLE,
    ActingAdmin,
    ReadOnlyInline,
    facts,
    staff_actor,
    word,
)

AT_ONCE = 100  # actions that one click may touch
Answer = HttpResponse | None

TONES = {
    ActionState.QUEUED: "plain",
    ActionState.RUNNING: "busy",
    ActionState.PARKED: "warn",
    ActionState.SUCCESS: "good",
    ActionState.ERROR: "bad",
    ActionState.CANCELLED: "plain",
}


# In which state each can do anything; the services refuse it in the others.
APPLIES = {
    "try_again": ActionState.PARKED,
    "give_up": ActionState.PARKED,
    "cancel": ActionState.QUEUED,
}


class StepInline(ReadOnlyInline):
    """The steps that were done, and undone."""

    model = StepRecord
    fields = ("name", "way", "attempt", "started", "seconds")
    readonly_fields = fields
    verbose_name_plural = "steps"

    @admin.display(description="was")
    def way(self, step: StepRecord) -> str:
        return "undone" if step.undo else "done"

    @admin.display(description="took")
    def seconds(self, step: StepRecord) -> str:
        return _span(step.finished - step.started)


@admin.register(Action)
class ActionAdmin(ActingAdmin):
    """All actions, newest first."""

    list_display: tuple[str, ...] = (
        "id",
        "shown_state",
        "asked",
        "resource",
        "doing",
        "error",
        "since",
    )
    list_filter: ClassVar[tuple[Any, ...]] = ("state", "command", "resource_type", "created")
    list_select_related = ("actor",)
    search_fields = ("=id", "=resource_id", "error_code", "error_detail", "worker", "actor__email")
    search_help_text = "An action's or a resource's id, an error code or text, a worker, a person."
    show_full_result_count = False
    ordering = ("-id",)
    inlines = (StepInline,)
    actions = ("try_again", "give_up", "cancel")
    fieldsets = (
        (None, {"fields": ("command", "resource", "project_id", "actor", "shown_args")}),
        (
            "Where it stands",
            {"fields": ("shown_state", "doing", "detail", "shown_way", "shown_memory")},
        ),
        ("Error", {"fields": ("error_code", "error_message", "shown_detail")}),
        (
            "Engine",
            {
                "fields": (
                    "attempt",
                    "tries",
                    "worker",
                    "lease_until",
                    "run_after",
                    "deadline",
                    "failing_since",
                    "group",
                    "group_limit",
                )
            },
        ),
        ("Time", {"fields": ("created", "started", "finished", "took")}),
    )

    class Media:
        css = STYLE

    def applies_to(self, action: str, obj: Any) -> bool:
        """The buttons of a page are only those that its state allows."""
        return obj is None or obj.state == APPLIES[action]

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Who may cancel and retry: whoever may change actions."""
        return request.user.has_perm("actions.change_action")

    @admin.action(description="Try again what needs attention", permissions=["operate"])
    def try_again(self, request: HttpRequest, actions: QuerySet[Action]) -> Answer:
        def retry(action: Action, actor: Actor) -> None:
            services.retry_parked(action, actor=actor)

        return self._each(request, actions, "try_again", retry, "goes on")

    @admin.action(description="Give up what needs attention, and undo it", permissions=["operate"])
    def give_up(self, request: HttpRequest, actions: QuerySet[Action]) -> Answer:
        def give_up(action: Action, actor: Actor) -> None:
            services.give_up(action, actor=actor)

        return self._each(request, actions, "give_up", give_up, "is undone")

    @admin.action(description="Cancel what has not begun", permissions=["operate"])
    def cancel(self, request: HttpRequest, actions: QuerySet[Action]) -> Answer:
        def cancel(action: Action, actor: Actor) -> None:
            services.cancel(action, actor=actor)

        return self._each(request, actions, "cancel", cancel, "was cancelled")

    def _asked(self, request: HttpRequest, actions: QuerySet[Action], name: str) -> Answer:
        """The question before anything is done to them; None once it is answered."""
        chosen = list(actions.order_by("pk")[: AT_ONCE + 1])
        if len(chosen) > AT_ONCE:
            self.message_user(request, f"At most {AT_ONCE} actions at once.", messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())
        if "confirmed" in request.POST:
            return None
        context = {
            **self.admin_site.each_context(request),
            "opts": self.model._meta,
            "title": self.get_actions(request)[name][2],  # type: ignore[index]
            "list_url": "admin:actions_action_changelist",
            "list_name": "Actions",
            "chosen": chosen,
            "applies": APPLIES[name],
            "act": name,
            "danger": name != "try_again",
            "checkbox": ACTION_CHECKBOX_NAME,
            "media": self.media,
        }
        return TemplateResponse(request, "admin/actions/confirm.html", context)

    def _each(
        self,
        request: HttpRequest,
        actions: QuerySet[Action],
        name: str,
        do: Callable[[Action, Actor], None],
        said: str,
    ) -> Answer:
        """Do it to each, unless it has to be asked first; say what was done and what refused."""
        question = self._asked(request, actions, name)
        if question is not None:
            return question
        actor = staff_actor(request)
        for action in actions.order_by("pk"):
            who = f"Action {action.command} #{action.pk}"
            try:
                do(action, actor)
            except Refused as refusal:
                self.message_user(request, f"{who}: {refusal.message}", messages.ERROR)
            else:
                self.message_user(request, f"{who} {said}.", messages.SUCCESS)
        return None

    @admin.display(description="command", ordering="command")
    def asked(self, action: Action) -> SafeString:
        """What, and who asked for it: nobody if it is housekeeping."""
        by = f"by {action.actor}" if action.actor is not None else ""
        return format_html('{}<span class="detail">{}</span>', action.command, by)

    @admin.display(description="undoing")
    def shown_way(self, action: Action) -> str:
        return "yes: what was done is undone, step by step" if action.undoing else "no"

    @admin.display(ordering="resource_id")
    def resource(self, action: Action) -> str:
        return f"{action.resource_type} {action.resource_id}"

    @admin.display(description="state", ordering="state")
    def shown_state(self, action: Action) -> SafeString:
        return word(action.get_state_display(), TONES[ActionState(action.state)])

    @admin.display(description="step")
    def doing(self, action: Action) -> SafeString | str:
        if not action.is_open:
            return action.step
        way = "undoing " if action.undoing else ""
        return format_html(
            '{}{} <progress max="100" value="{}"></progress><span class="detail">{}</span>',
            way,
            action.step,
            action.progress,
            "" if action.state == ActionState.PARKED else action.detail,
        )

    @admin.display(description="why", ordering="error_code")
    def error(self, action: Action) -> SafeString | str:
        """Why it is parked or failed: the code, the words, and what only staff read."""
        code, _, words = action.detail.partition(": ")
        if action.state != ActionState.PARKED or not words:
            code, words = action.error_code, action.error_message
        if not code and not action.error_detail:
            return ""
        return format_html(
            '{} <span class="detail">{}</span><span class="detail">{}</span>',
            code,
            words,
            truncatechars(action.error_detail, 200),
        )

    @admin.display(description="time", ordering="created")
    def since(self, action: Action) -> SafeString:
        """When it was asked for, how long ago that is while it is open, and how long it ran."""
        at = timezone.localtime(action.created).strftime("%Y-%m-%d %H:%M:%S")
        lines = [f"{_span(timezone.now() - action.created)} ago"] if action.is_open else []
        if action.started is not None:
            lines.append(f"{'runs' if action.is_open else 'ran'} {self.took(action)}")
        if action.attempt > 1:
            lines.append(f"attempt {action.attempt}")
        return format_html(
            '<span class="nowrap">{}</span>{}',
            at,
            format_html_join("", '<span class="detail">{}</span>', ((line,) for line in lines)),
        )

    @admin.display(description="for staff")
    def shown_detail(self, action: Action) -> SafeString:
        return format_html('<pre class="facts">{}</pre>', action.error_detail)

    @admin.display(description="asked")
    def shown_args(self, action: Action) -> SafeString:
        return facts(action.args)

    @admin.display(description="learnt")
    def shown_memory(self, action: Action) -> SafeString:
        return facts(action.memory)

    @admin.display(description="runs")
    def took(self, action: Action) -> str:
        """How long it has run, or ran; also the time in which it was parked."""
        if action.started is None:
            return ""
        return _span((action.finished or timezone.now()) - action.started)


def _span(span: timedelta) -> str:
    """1.24 s; 3 min 20 s; 5 h 2 min; 3 d 4 h."""
    seconds = span.total_seconds()
    if seconds < 60:
        return f"{seconds:.2f} s"
    minutes, hours = int(seconds // 60), int(seconds // 3600)
    if hours < 1:
        return f"{minutes} min {int(seconds % 60)} s"
    return f"{hours} h {minutes % 60} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
