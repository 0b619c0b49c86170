"""The order form: what was chosen and typed, checked as far as it needs no service."""

from __future__ import annotations

from typing import Any, cast

from django import forms

from hosts.models import Image
from vpspanel.accounts.keys import parse_public_key
from vpspanel.accounts.models import Project, SSHKey
from vpspanel.accounts.services import add_ssh_key
from vpspanel.errors import Refused
from vpspanel.events.actor import Actor
from vpspanel.pages.forms import KeyChoices, RefusableForm
from vpspanel.servers.images import usable_images
from vpspanel.servers.models import Server, ServerTypePrice
from vpspanel.servers.ordering import check_name
from vpspanel.servers.userdata import MAX_BYTES, validate_user_data

# A service speaks of the plan and the location; the form asks for both in one choice.
_FIELD = {
    "server_type": "plan",
    "location": "plan",
    "public_key": "new_key",
    "placement_group": "spread",
}


class OrderForm(RefusableForm):
    """Everything of an order. `token` makes sending the same form twice harmless."""

    token = forms.UUIDField(widget=forms.HiddenInput)
    plan = forms.ModelChoiceField(
        ServerTypePrice.objects.select_related("server_type", "location"),
        error_messages={"required": "Choose a plan.", "invalid_choice": "Choose a plan."},
    )
    image = forms.ModelChoiceField(
        Image.objects.none(),
        error_messages={
            "required": "Choose an image.",
            "invalid_choice": "This image is not available. Choose another one.",
        },
    )
    ssh_keys = KeyChoices(SSHKey.objects.none(), required=False)
    new_key = forms.CharField(
        required=False,
        max_length=20_000,
        label="New public key",
        widget=forms.Textarea(
            attrs={
                "rows": 3,
                "spellcheck": "false",
                "autocapitalize": "off",
                "placeholder": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA… you@laptop",
            }
        ),
    )
    new_key_name = forms.CharField(required=False, max_length=80, label="Name of the new key")
    name = forms.CharField(
        max_length=63,
        label="Host name",
        widget=forms.TextInput(
            attrs={"autocomplete": "off", "spellcheck": "false", "autocapitalize": "off"}
        ),
        error_messages={"required": "Give it a name."},
        help_text="Letters, digits, hyphens and dots, for example web-1 or web-1.example.org.",
    )
    user_data = forms.CharField(
        required=False,
        strip=False,
        label="User data",
        widget=forms.Textarea(
            attrs={
                "rows": 10,
                "spellcheck": "false",
                "autocapitalize": "off",
                "placeholder": "#cloud-config\npackages:\n  - nginx",
                "data-limit": MAX_BYTES,
            }
        ),
    )
    spread = forms.CharField(
        required=False,
        max_length=63,
        label="Spread group",
        widget=forms.TextInput(attrs={"autocomplete": "off", "list": "spread-groups"}),
        help_text="Servers with the same word here never share a host.",
    )
    protect = forms.BooleanField(
        required=False, label="Protect it from being deleted or rebuilt by mistake"
    )

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._project = project
        image = cast("forms.ModelChoiceField[Image]", self.fields["image"])
        image.queryset = usable_images(project.pk)
        keys = cast(KeyChoices, self.fields["ssh_keys"])
        keys.queryset = project.ssh_keys.all()

    def clean_name(self) -> str:
        """A host name as RFC 1123 has it."""
        try:
            return check_name(self.cleaned_data["name"])
        except Refused as refusal:
            raise forms.ValidationError(refusal.message) from refusal

    def clean_user_data(self) -> str:
        """Browsers send CR LF; a script with that in its first line does not start."""
        text: str = self.cleaned_data["user_data"].replace("\r\n", "\n").replace("\r", "\n")
        try:
            validate_user_data(text)
        except Refused as refusal:
            raise forms.ValidationError(refusal.message) from refusal
        return text if text.strip() else ""

    def clean_new_key(self) -> str:
        """A public key, or nothing."""
        text: str = self.cleaned_data["new_key"]
        if text:
            try:
                parse_public_key(text)
            except Refused as refusal:
                raise forms.ValidationError(refusal.message) from refusal
        return text

    def chosen_keys(self, actor: Actor) -> list[SSHKey]:
        """The keys to order with; a pasted one is added to the project if it is new there."""
        keys = list(self.cleaned_data["ssh_keys"])
        text = self.cleaned_data["new_key"]
        if not text:
            return keys
        key = self._known_key(text)
        if key is None:
            name = self.cleaned_data["new_key_name"]
            try:
                key = add_ssh_key(actor, project=self._project, name=name, public_key=text)
            except Refused:
                key = self._known_key(text)  # the form was sent twice at once
                if key is None:
                    raise
        return keys if key in keys else [*keys, key]

    def _known_key(self, text: str) -> SSHKey | None:
        fingerprint = parse_public_key(text).fingerprint_md5
        return self._project.ssh_keys.filter(fingerprint=fingerprint).first()

    def refuse(self, refusal: Refused) -> None:
        """Put the refusal beside the field of this form that it is about."""
        field = _FIELD.get(refusal.field or "", refusal.field)
        self.add_error(field if field in self.fields else None, refusal.message)


def suggested_name(project: Project) -> str:
    """The first of server-1, server-2 … that the project does not have."""
    taken = set(
        Server.objects.filter(project=project, name__startswith="server-").values_list(
            "name", flat=True
        )
    )
    return next(name for n in range(1, len(taken) + 2) if (name := f"server-{n}") not in taken)
