"""Action: one operation on one resource; the customer's receipt and the worker's job at once."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q


class ActionState(models.TextChoices):
    """Where an action stands. `queued`, `running` and `parked` are open; the others are final."""

    QUEUED = "queued", "queued"
    RUNNING = "running", "running"
    PARKED = "parked", "needs attention"
    SUCCESS = "success", "done"
    ERROR = "error", "failed"
    CANCELLED = "cancelled", "cancelled"


OPEN_STATES = (ActionState.QUEUED, ActionState.RUNNING, ActionState.PARKED)
FINAL_STATES = (ActionState.SUCCESS, ActionState.ERROR, ActionState.CANCELLED)


class Action(models.Model):
    """One operation. Only the engine writes to an open one.

    `attempt` is the fencing number: whoever claimed the action writes only
    `WHERE attempt = mine`. A running action without a lease waits for
    `run_after`. `undoing` says that the way back is being walked.
    """

    command = models.CharField(max_length=40)
    resource_type = models.CharField(max_length=32)
    resource_id = models.BigIntegerField()
    project_id = models.BigIntegerField(null=True)
    group = models.CharField(max_length=64, blank=True, help_text="What bounds concurrency: a host")
    group_limit = models.PositiveSmallIntegerField(default=4)
    args = models.JSONField(default=dict, help_text="What was asked; never a secret")
    memory = models.JSONField(default=dict, help_text="What steps learnt; never a secret")

    state = models.CharField(max_length=16, choices=ActionState, default=ActionState.QUEUED)
    step = models.CharField(max_length=40, blank=True, help_text="The step in hand")
    progress = models.PositiveSmallIntegerField(default=0)
    detail = models.CharField(max_length=200, blank=True, help_text="What it waits for")
    undoing = models.BooleanField(default=False)
    cancel_wanted = models.BooleanField(default=False, help_text="It was called off while it ran")
    error_code = models.CharField(max_length=40, blank=True)
    error_message = models.CharField(max_length=300, blank=True, help_text="For the customer")
    error_detail = models.TextField(blank=True, help_text="For staff")

    attempt = models.PositiveIntegerField(default=0)
    tries = models.PositiveSmallIntegerField(default=0, help_text="Failures of the step in hand")
    worker = models.CharField(max_length=80, blank=True)
    lease_until = models.DateTimeField(null=True)
    run_after = models.DateTimeField()
    deadline = models.DateTimeField(null=True)
    failing_since = models.DateTimeField(null=True)

    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    created = models.DateTimeField(auto_now_add=True)
    started = models.DateTimeField(null=True)
    finished = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-id",)
        constraints = [
            models.UniqueConstraint(
                fields=("resource_type", "resource_id"),
                condition=Q(state__in=OPEN_STATES),
                name="one_open_action",
            )
        ]
        indexes = [
            models.Index(
                fields=("run_after",),
                condition=Q(state__in=(ActionState.QUEUED, ActionState.RUNNING)),
                name="action_due",
            ),
            models.Index(fields=("resource_type", "resource_id", "-id"), name="action_resource"),
        ]

    def __str__(self) -> str:
        return (
            f"{self.command} {self.resource_type}:{self.resource_id} ({self.get_state_display()})"
        )

    @property
    def is_open(self) -> bool:
        """True until it has ended."""
        return self.state in OPEN_STATES

    def done(self) -> set[str]:
        """The steps that are recorded as done."""
        return set(self.steps.filter(undo=False).values_list("name", flat=True))


class StepRecord(models.Model):
    """A step that was done or undone. The unique constraint makes recording it twice impossible."""

    action = models.ForeignKey(Action, models.CASCADE, related_name="steps")
    name = models.CharField(max_length=40)
    undo = models.BooleanField(default=False)
    attempt = models.PositiveIntegerField()
    started = models.DateTimeField()
    finished = models.DateTimeField()

    class Meta:
        ordering = ("id",)
        constraints = [models.UniqueConstraint(fields=("action", "name", "undo"), name="step_once")]

    def __str__(self) -> str:
        return f"{'undo ' if self.undo else ''}{self.name}"
