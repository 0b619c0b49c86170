from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "vpspanel.accounts"
    label = "accounts"
