"""Settings: environment variables over .env over a profile over config/defaults.toml, read once."""

from service.settings.fields import check_namespace
from service.settings.files import CONFIG_DIR
from service.settings.model import Backend, Settings, load_settings
from service.settings.unknown import unknown_variables

__all__ = [
    "CONFIG_DIR",
    "Backend",
    "Settings",
    "check_namespace",
    "load_settings",
    "unknown_variables",
]
