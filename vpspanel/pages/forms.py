"""The forms of keys and of a server's dialogs: shapes only; the rules are in the services."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from django import forms
from django.http import QueryDict

from hosts.models import Image
from vpspanel.accounts.keys import is_private_key
from vpspanel.accounts.models import Project, SSHKey
from vpspanel.errors import NotFound, Refused
from vpspanel.servers.images import usable_images, visible_isos
from vpspanel.servers.models import ServerType


class RefusableForm(forms.Form):
    """A form that can show what a service refused."""

    def refuse(self, refusal: Refused) -> None:
        """Put the refusal beside its field, or above the form."""
        field = refusal.field if refusal.field in self.fields else None
        self.add_error(field, refusal.message)

    def done(self, deed: Callable[[], object]) -> bool:
        """True if it is complete and the service did it; else it shows why not.

        Raises `NotFound`: what the page is about is not there.
        """
        if not self.is_valid():
            return False
        try:
            deed()
        except NotFound:
            raise
        except Refused as refusal:
            self.refuse(refusal)
            return False
        return True

    def put(self, field: str, value: str) -> None:
        """Show this in a field instead of what was sent."""
        data = cast(QueryDict, self.data).copy()
        data[field] = value
        self.data = data

    def forget_private_keys(self, *fields: str) -> None:
        """Never send a private key back that was pasted by mistake."""
        for field in fields:
            if is_private_key(self.data.get(field, "")):
                self.put(field, "")


class KeyForm(RefusableForm):
    """A public key to add."""

    public_key = forms.CharField(
        label="Public key",
        strip=True,
        max_length=20_000,
        help_text="The contents of a file such as ~/.ssh/id_ed25519.pub: one line.",
        widget=forms.Textarea(
            attrs={
                "rows": 4,
                "spellcheck": "false",
                "autocapitalize": "off",
                "placeholder": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA… you@laptop",
            }
        ),
    )
    name = forms.CharField(
        label="Name",
        required=False,
        max_length=80,
        help_text="Left empty, it gets the comment at the end of the key.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )


class RenameForm(RefusableForm):
    """Another name."""

    name = forms.CharField(
        label="New name",
        max_length=63,
        widget=forms.TextInput(
            attrs={"autocomplete": "off", "spellcheck": "false", "autocapitalize": "off"}
        ),
        help_text="Letters, digits, hyphens and dots. The system inside keeps the host name it has "
        "until it is rebuilt.",
    )


class ImageChoice(forms.ModelChoiceField):  # type: ignore[type-arg]
    """Images by what they are called in the shop."""

    def label_from_instance(self, image: Image) -> str:
        """The description; a snapshot is said to be one."""
        return f"Snapshot: {image.description}" if image.owner else image.description


class KeyChoices(forms.ModelMultipleChoiceField):  # type: ignore[type-arg]
    """Keys of the project; SQLite cannot even be asked for numbers that it cannot hold."""

    def clean(self, value: Any) -> Any:
        """The keys."""
        try:
            return super().clean(value)
        except OverflowError as error:
            raise forms.ValidationError("Choose among the keys of the project.") from error


class RebuildForm(RefusableForm):
    """Another image, and whether the loss of everything is understood."""

    image = ImageChoice(Image.objects.none(), label="New image")
    ssh_keys = KeyChoices(
        SSHKey.objects.none(),
        label="SSH keys",
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="Choose none to keep the keys it has now.",
    )
    understood = forms.BooleanField(
        label="I understand that everything on its disk will be lost",
        error_messages={"required": "Please confirm that the disk may be erased."},
    )

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        image = cast(ImageChoice, self.fields["image"])
        image.queryset = usable_images(project.pk)
        keys = cast(KeyChoices, self.fields["ssh_keys"])
        keys.queryset = project.ssh_keys.all()


class SnapshotForm(RefusableForm):
    """What a snapshot is called."""

    description = forms.CharField(
        label="Description",
        required=False,
        max_length=200,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )


class RescueForm(RefusableForm):
    """Who may log in to the rescue system."""

    ssh_keys = KeyChoices(
        SSHKey.objects.none(),
        label="SSH keys",
        required=False,
        widget=forms.CheckboxSelectMultiple,
    )

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        keys = cast(KeyChoices, self.fields["ssh_keys"])
        keys.queryset = project.ssh_keys.all()


class IsoForm(RefusableForm):
    """What is put into its CD-ROM."""

    iso = ImageChoice(Image.objects.none(), label="ISO", empty_label=None)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        cast(ImageChoice, self.fields["iso"]).queryset = visible_isos()


class ChangeTypeForm(RefusableForm):
    """Another plan, and whether the disk may grow with it."""

    server_type = forms.ModelChoiceField(
        ServerType.objects.all(),
        error_messages={"required": "Choose a plan.", "invalid_choice": "Choose a plan."},
    )
    keep_disk = forms.BooleanField(
        required=False,
        label="Keep the disk as it is",
        help_text="Then you can change back to a smaller plan later. "
        "A disk that has grown cannot shrink again.",
    )


class DeleteForm(RefusableForm):
    """The name of the server, typed."""

    name = forms.CharField(
        label="Type its name to confirm",
        max_length=80,
        widget=forms.TextInput(
            attrs={"autocomplete": "off", "spellcheck": "false", "autocapitalize": "off"}
        ),
    )

    def __init__(self, *args: Any, expected: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._expected = expected

    def clean_name(self) -> str:
        """The typed name, if it is the server's."""
        typed: str = self.cleaned_data["name"].strip()
        if typed.lower() != self._expected.lower():
            raise forms.ValidationError(f"This is not the name of the server, {self._expected}.")
        return typed
