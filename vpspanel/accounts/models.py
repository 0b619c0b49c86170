"""Who pays, who works in what, their keys and their programs' tokens."""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.models import AbstractUser, BaseUserManager
from django.db import models
from django.db.models import Q


class UserManager(BaseUserManager["User"]):
    """Users are known by their mail address."""

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        """A new user; without a password nobody can sign in as it."""
        user = self.model(email=self.normalize_email(email), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        """A user who may do everything in the admin."""
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)


class User(AbstractUser):
    """A person. The mail address is the name."""

    username = None  # type: ignore[assignment]
    email = models.EmailField("email address", unique=True)

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []
    objects: ClassVar[UserManager] = UserManager()  # type: ignore[assignment]

    def __str__(self) -> str:
        return self.email


class Suspender(models.TextChoices):
    """Who suspended, which says who may lift it."""

    STAFF = "staff", "staff"
    RESELLER = "reseller", "its reseller"
    ABOVE = "above", "with the account above it"


class Account(models.Model):
    """Who pays. A reseller is the parent of other accounts.

    An account stands at most two below the top. `suspended_at` is set on every account that a
    suspension reaches, so that whoever asks looks at one row.
    """

    name = models.CharField(max_length=120)
    parent = models.ForeignKey(
        "self", models.PROTECT, null=True, blank=True, related_name="customers"
    )
    is_reseller = models.BooleanField(
        "reseller", default=False, help_text="It may have customers, and tokens of its own"
    )
    server_limit = models.PositiveIntegerField(
        default=10, help_text="A reseller's holds for itself and its customers together"
    )
    servers_used = models.PositiveIntegerField(
        default=0, editable=False, help_text="With those of the accounts below"
    )
    address_limit = models.PositiveIntegerField(
        default=10, help_text="Addresses that are kept without a server, or after its end"
    )
    suspended_at = models.DateTimeField(null=True, blank=True)
    suspended_reason = models.CharField(
        max_length=200, blank=True, help_text="The customer reads it"
    )
    suspender = models.CharField(max_length=12, choices=Suspender, blank=True)
    created = models.DateTimeField(auto_now_add=True)
    deleted_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ("name",)
        constraints = [
            models.UniqueConstraint(
                fields=("parent", "name"),
                condition=Q(deleted_at__isnull=True),
                name="account_name_in_reseller",
            )
        ]

    def __str__(self) -> str:
        return self.name


class Project(models.Model):
    """What an account's servers live in; names are unique in it."""

    account = models.ForeignKey(Account, models.PROTECT, related_name="projects")
    name = models.CharField(max_length=80)
    created = models.DateTimeField(auto_now_add=True)
    deleted_at = models.DateTimeField(
        null=True, editable=False, help_text="It is kept for the history of its servers"
    )

    class Meta:
        ordering = ("name",)
        constraints = [
            models.UniqueConstraint(
                fields=("account", "name"),
                condition=Q(deleted_at__isnull=True),
                name="project_name_in_account",
            )
        ]

    def __str__(self) -> str:
        return self.name


class Role(models.TextChoices):
    """What a member may do; each includes those after it."""

    OWNER = "owner", "owner"
    ADMIN = "admin", "administrator"
    OPERATOR = "operator", "operator"
    READER = "reader", "reader"


class Member(models.Model):
    """A user in a project."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="members")
    user = models.ForeignKey(User, models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=Role, default=Role.READER)

    class Meta:
        constraints = [models.UniqueConstraint(fields=("project", "user"), name="member_once")]

    def __str__(self) -> str:
        return f"{self.user} in {self.project}"


class SSHKey(models.Model):
    """A public key that servers of the project can be ordered with."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="ssh_keys")
    name = models.CharField(max_length=80)
    public_key = models.TextField()
    key_type = models.CharField(max_length=64)
    fingerprint = models.CharField(
        max_length=47, help_text="MD5, colon-separated, as hcloud has it"
    )
    fingerprint_sha256 = models.CharField(max_length=64, help_text="as ssh-keygen -l prints it")
    labels = models.JSONField(default=dict, blank=True)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = "SSH key"
        ordering = ("name",)
        constraints = [
            models.UniqueConstraint(fields=("project", "name"), name="sshkey_name_in_project"),
            models.UniqueConstraint(
                fields=("project", "fingerprint"), name="sshkey_once_in_project"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class ApiToken(models.Model):
    """What a program shows to the API. It acts for its project, whoever made it.

    That of a reseller belongs to an account instead, and acts for all below it: while it acts in
    one project, a request sets `project` on it, and nobody saves that. Useless to whoever reads
    the table: only a digest of the secret is kept.
    """

    project = models.ForeignKey(Project, models.CASCADE, null=True, related_name="api_tokens")
    account = models.ForeignKey(
        Account, models.CASCADE, null=True, related_name="api_tokens", help_text="Of a reseller"
    )
    name = models.CharField(max_length=80)
    digest = models.CharField(max_length=64, unique=True, help_text="SHA-256 of the secret")
    hint = models.CharField(max_length=8, help_text="How the secret ends, to tell tokens apart")
    may_write = models.BooleanField(default=False)
    scopes = models.JSONField(
        default=list, blank=True, help_text="What it may change; empty: everything, if it may write"
    )
    server_ids = models.JSONField(
        default=list, blank=True, help_text="The only servers that are there for it; empty: all"
    )
    networks = models.JSONField(default=list, blank=True, help_text="From where; empty: anywhere")
    expires = models.DateTimeField(null=True, blank=True)
    created = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    last_used = models.DateTimeField(null=True, help_text="To the minute")
    last_ip = models.GenericIPAddressField(null=True)
    budget_full_at = models.BigIntegerField(
        default=0, help_text="When its allowance of requests is whole again: Unix microseconds"
    )

    class Meta:
        verbose_name = "API token"
        ordering = ("name",)
        constraints = [
            models.CheckConstraint(
                condition=Q(project__isnull=True) ^ Q(account__isnull=True),
                name="token_has_one_owner",
            ),
            models.UniqueConstraint(fields=("project", "name"), name="token_name_in_project"),
            models.UniqueConstraint(fields=("account", "name"), name="token_name_in_account"),
        ]

    def __str__(self) -> str:
        return self.name


class StoredAnswer(models.Model):
    """What the API answered to an idempotency key: the same request again gets it again."""

    token = models.ForeignKey(ApiToken, models.CASCADE, related_name="answers")
    key = models.CharField(max_length=255)
    request_hash = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField(default=0)
    body_sealed = models.BinaryField(default=bytes, help_text="Sealed: it may hold a password")
    created = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=("token", "key"), name="answer_once")]

    def __str__(self) -> str:
        return self.key
