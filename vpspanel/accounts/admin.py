"""People, accounts, projects and keys for staff."""

from __future__ import annotations

from copy import copy
from typing import Any

import allauth.account.admin  # noqa: F401 registers what is taken back below
from allauth.account.decorators import secure_admin_login
from allauth.account.models import EmailAddress
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import AdminUserCreationForm
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import path, reverse
from django.utils.html import format_html, format_html_join

from vpspanel.accounts.admin_tokens import changed_reseller_token, new_reseller_token
from vpspanel.accounts.hierarchy import problems
from vpspanel.accounts.models import Account, ApiToken, Member, Project, SSHKey, User
from vpspanel.accounts.telling import say_of_account, say_of_member, say_of_project
from vpspanel.accounts.token_services import revoke_as_staff
from vpspanel.events.staff import (
    STYLE,
    ActingAdmin,
    ModelForm,
    ReadOnlyAdmin,
    RecordedAdmin,
    TabularInline,
    staff_actor,
    word,
)

SIMULATED = " · simulated hosts" if settings.VPSPANEL_DRIVER == "fake" else ""
admin.site.site_header = f"{settings.SITE_NAME} staff{SIMULATED}"
admin.site.site_title = f"{settings.SITE_NAME} staff"
admin.site.index_title = "Overview"
admin.site.enable_nav_sidebar = False  # the lists need the room
# Staff sign in on the same page as everybody, with the same limits on guessing.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]

POWERS = ("is_staff", "is_superuser", "groups", "user_permissions")


class NewUserForm(AdminUserCreationForm):  # type: ignore[type-arg]
    """A user is known by the mail address."""

    class Meta:
        model = User
        fields = ("email",)


@admin.register(User)
class UserAdmin(RecordedAdmin, DjangoUserAdmin):  # type: ignore[type-arg]
    """People. Only a superuser hands out powers or changes another superuser.

    Nobody is deleted: the audit trail names people. Make them inactive instead.
    """

    add_form = NewUserForm
    list_display = ("email", "first_name", "last_name", "is_active", "is_staff", "last_login")
    list_filter = ("is_active", "is_staff", "is_superuser")
    search_fields = ("email", "first_name", "last_name")
    ordering = ("email",)
    readonly_fields = ("last_login", "date_joined")
    fieldsets = (
        (None, {"fields": ("email", "password")}),
        ("Person", {"fields": ("first_name", "last_name")}),
        ("May", {"fields": ("is_active", *POWERS)}),
        ("Time", {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = (
        (
            None,
            {
                "classes": ("wide",),
                "fields": ("email", "usable_password", "password1", "password2"),
            },
        ),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        if request.user.is_superuser:
            return self.readonly_fields
        return (*self.readonly_fields, *POWERS)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if change and "email" in form.changed_data:
            # Whoever reads the former mailbox could still have a link to set a new password.
            EmailAddress.objects.filter(user=obj).exclude(email__iexact=obj.email).delete()

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        if obj is not None and obj.is_staff and not request.user.is_superuser:
            return False
        return super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


admin.site.unregister([Group, EmailAddress])


@admin.register(Group)
class GroupAdmin(RecordedAdmin, DjangoGroupAdmin):
    """Powers by the bundle: whoever may change one could give himself all of them."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_superuser)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_superuser)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_superuser)


@admin.register(EmailAddress)
class EmailAddressAdmin(ReadOnlyAdmin):
    """Addresses that people sign in by; a link to set a new password goes to each."""

    list_display = ("email", "user", "primary", "verified")
    list_filter = ("primary", "verified")
    search_fields = ("email", "user__email")
    list_select_related = ("user",)


class AccountForm(ModelForm):
    """Checks what it would make of the tree."""

    def clean(self) -> dict[str, Any] | None:
        """The values. Adds an error to each field that cannot be as it is."""
        cleaned = super().clean()
        account = copy(self.instance)
        for field in ("parent", "is_reseller"):
            if cleaned and field in cleaned:
                setattr(account, field, cleaned[field])
        for field, problem in problems(account).items():
            self.add_error(field, problem)
        return cleaned


@admin.register(Account)
class AccountAdmin(RecordedAdmin):
    """Who pays."""

    form = AccountForm
    list_display = ("name", "parent", "servers", "standing", "projects_count", "created")
    list_filter = (
        "is_reseller",
        ("deleted_at", admin.EmptyFieldListFilter),
        ("suspended_at", admin.EmptyFieldListFilter),
        ("parent", admin.EmptyFieldListFilter),
    )
    search_fields = ("name", "projects__name", "projects__members__user__email")
    list_select_related = ("parent",)
    autocomplete_fields = ("parent",)
    fields = (
        "name",
        "parent",
        "is_reseller",
        "server_limit",
        "servers_used",
        "address_limit",
        "suspended_at",
        "suspended_reason",
        "suspender",
        "created",
        "deleted_at",
        "tokens",
    )
    readonly_fields = (
        "servers_used",
        "suspended_at",
        "suspended_reason",
        "suspender",
        "created",
        "deleted_at",
        "tokens",
    )

    class Media:
        css = STYLE

    def get_urls(self) -> list[Any]:
        page = self.admin_site.admin_view(self.new_token)
        changes = self.admin_site.admin_view(self.change_token)
        return [
            path("<int:account_id>/new-token/", page, name="accounts_account_new_token"),
            path("<int:account_id>/tokens/<int:token_id>/", changes, name="accounts_account_token"),
            *super().get_urls(),
        ]

    def new_token(self, request: HttpRequest, account_id: int) -> HttpResponse:
        """The page that makes a reseller's token and shows its secret, once."""
        account = self._reseller(request, account_id)
        return new_reseller_token(request, account, self.admin_site.each_context(request))

    def change_token(self, request: HttpRequest, account_id: int, token_id: int) -> HttpResponse:
        """The page that changes one of them."""
        account = self._reseller(request, account_id)
        context = self.admin_site.each_context(request)
        return changed_reseller_token(request, account, token_id, context)

    def _reseller(self, request: HttpRequest, account_id: int) -> Account:
        """The account, for those who may make its tokens: a change may let one do more."""
        if not request.user.has_perms(("accounts.change_account", "accounts.add_apitoken")):
            raise PermissionDenied
        return get_object_or_404(Account, pk=account_id, is_reseller=True, deleted_at=None)

    @admin.display(description="API tokens")
    def tokens(self, account: Account) -> str:
        """Those of a reseller, and the way to another one."""
        if not account.is_reseller:
            return "Only resellers have tokens that act for the whole account."
        url = reverse("admin:accounts_account_new_token", args=[account.pk])
        rows = (
            (
                reverse("admin:accounts_apitoken_change", args=[token.pk]),
                token.name,
                token.hint,
                reverse("admin:accounts_account_token", args=[account.pk, token.pk]),
            )
            for token in account.api_tokens.all()
        )
        row = '<p><a href="{}">{}</a> …{} · <a href="{}">Change</a></p>'
        known = format_html_join("", row, rows)
        return format_html('{}<p><a href="{}">Make a token</a></p>', known, url)

    def save_model(self, request: HttpRequest, obj: Any, form: ModelForm, change: bool) -> None:
        """Whoever has it, and its resellers, are told as of their own changes."""
        super().save_model(request, obj, form, change)
        if form.changed_data:
            values = {name: form.cleaned_data[name] for name in form.changed_data}
            if "parent" in values:
                values["parent"] = obj.parent_id
            say_of_account(staff_actor(request), obj, "account.changed", "was changed", **values)

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).annotate(n=Count("projects", distinct=True))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # `open_account` makes it together with a project and its owner

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description="servers", ordering="servers_used")
    def servers(self, account: Account) -> str:
        return f"{account.servers_used} of {account.server_limit}"

    @admin.display(ordering="suspended_at")
    def standing(self, account: Account) -> str:
        return word("suspended", "bad") if account.suspended_at else word("good", "good")

    @admin.display(description="projects", ordering="n")
    def projects_count(self, account: Any) -> int:
        return int(account.n)


class MemberInline(TabularInline):
    """Who works in the project."""

    model = Member
    extra = 0
    autocomplete_fields = ("user",)


@admin.register(Project)
class ProjectAdmin(RecordedAdmin):
    """What servers live in."""

    list_display = ("name", "account", "members_count", "created")
    list_filter = (("deleted_at", admin.EmptyFieldListFilter),)
    search_fields = ("name", "account__name", "members__user__email")
    list_select_related = ("account",)
    fields = ("account", "name", "created", "deleted_at")
    readonly_fields = ("account", "created", "deleted_at")
    inlines = (MemberInline,)

    def save_model(self, request: HttpRequest, obj: Any, form: ModelForm, change: bool) -> None:
        """Whoever has it is told."""
        super().save_model(request, obj, form, change)
        if "name" in form.changed_data:
            say_of_project(staff_actor(request), obj, "project.renamed", "was renamed")

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        """The same of its members."""
        super().save_formset(request, form, formset, change)
        actor = staff_actor(request)
        for member in formset.new_objects:
            say_of_member(actor, member, "project.member_added", "has a new member")
        for member, _ in formset.changed_objects:
            say_of_member(actor, member, "project.member_changed", "has a changed member")
        for member in formset.deleted_objects:
            say_of_member(actor, member, "project.member_removed", "has lost a member")

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).annotate(n=Count("members", distinct=True))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description="members", ordering="n")
    def members_count(self, project: Any) -> int:
        return int(project.n)


@admin.register(SSHKey)
class SSHKeyAdmin(ReadOnlyAdmin):
    """Public keys; customers keep them."""

    list_display = ("name", "project", "key_type", "fingerprint_sha256", "created")
    list_filter = ("key_type",)
    search_fields = ("name", "fingerprint", "fingerprint_sha256", "project__name")
    list_select_related = ("project",)


@admin.register(ApiToken)
class ApiTokenAdmin(ActingAdmin):
    """What programs act with; customers make and revoke theirs, staff those of resellers."""

    list_display = (
        "name",
        "project",
        "account",
        "may_write",
        "expires",
        "last_used",
        "last_ip",
        "created_by",
    )
    list_filter = (
        "may_write",
        ("account", admin.EmptyFieldListFilter),
        ("last_used", admin.EmptyFieldListFilter),
    )
    search_fields = ("name", "hint", "project__name", "account__name", "created_by__email")
    list_select_related = ("project", "account", "created_by")
    exclude = ("digest", "budget_full_at")
    actions = ("revoke",)

    class Media:
        css = STYLE

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Whoever may delete tokens."""
        return request.user.has_perm("accounts.delete_apitoken")

    @admin.action(description="Revoke", permissions=["revoke"])
    def revoke(self, request: HttpRequest, chosen: QuerySet[ApiToken]) -> HttpResponse | None:
        """Ask once more, then forget them: their next request is refused."""
        tokens = list(chosen.select_related("project", "account"))
        if "confirmed" not in request.POST:
            context = {
                **self.admin_site.each_context(request),
                "title": "Revoke",
                "list_url": "admin:accounts_apitoken_changelist",
                "list_name": "API tokens",
                "chosen": tokens,
                "act": "revoke",
                "danger": True,
                "checkbox": ACTION_CHECKBOX_NAME,
            }
            return render(request, "admin/accounts/revoke.html", context)
        for token in tokens:
            revoke_as_staff(staff_actor(request), token)
            self.message_user(request, f"{token.name} was revoked.", messages.SUCCESS)
        return None
