"""The machine room for staff: Django finds these pages here."""

from hosts.admin import addresses, images, machines

__all__ = ["addresses", "images", "machines"]
