"""What a worker's environment says about actions."""

from __future__ import annotations

import orjson
from pydantic import SecretStr
from pydantic_settings import SettingsConfigDict

from libs.actions.addresses import EgressPolicy
from libs.actions.shell_policy import ShellPolicy
from libs.common.settings import FileBackedSettings


class ActionSettings(FileBackedSettings):
    """RR_EGRESS_…, RR_SHELL_… and RR_NOTIFY_CHANNELS, or files that RR_…_FILE name. Empty lists allow public hosts.

    `egress_public=False` closes the public internet too: then only what RR_EGRESS_ALLOW lists is reachable.
    """

    model_config = SettingsConfigDict(env_prefix="RR_", frozen=True, extra="ignore")

    egress_allow: str = ""
    egress_public: bool = True
    shell_allow: str = ""
    shell_env: str = ""
    notify_channels: SecretStr = SecretStr("{}")

    def egress(self) -> EgressPolicy:
        """The outbound policy; ValueError names a bad entry, so that a process refuses to start with it."""
        return EgressPolicy.of(self.egress_allow, public=self.egress_public)

    def shell(self) -> ShellPolicy:
        """The command policy."""
        return ShellPolicy.of(self.shell_allow, self.shell_env)

    def channels(self) -> dict[str, str]:
        """Webhook URLs by channel name; ValueError when RR_NOTIFY_CHANNELS is not a JSON object of strings."""
        try:
            found = orjson.loads(self.notify_channels.get_secret_value())
        except orjson.JSONDecodeError:
            found = None
        if not isinstance(found, dict) or not all(isinstance(url, str) for url in found.values()):
            raise ValueError("RR_NOTIFY_CHANNELS must be a JSON object: channel name to webhook URL")
        return found
