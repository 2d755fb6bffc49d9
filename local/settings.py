"""What `local` takes from the environment, and the only place of it that reads any.

The programs that `local` starts are given what `inherited` says, with their own variables beside it.
"""

from __future__ import annotations

import os

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class LocalSettings(BaseSettings):
    """Where images and tokens of this machine come from. An empty variable is one that is not set."""

    model_config = SettingsConfigDict(env_prefix="LOOKALIKE_", frozen=True, env_ignore_empty=True)

    kubeconfig: str = Field(default="", validation_alias="KUBECONFIG")
    """File that names the cluster; empty: the test cluster, where there is one."""
    builder: str = "docker"
    """Program that builds and pushes images, such as podman."""
    registry: str = ""
    """Prefix under which images are pushed and the cluster pulls them, such as ``ghcr.io/shop``."""
    torch_index: str = ""
    """Package index of the torch that goes into images; empty: the Dockerfile's."""
    console_token: str = ""
    """What actions of the console need; empty: one is made and kept."""
    region: str = Field(default="us-east-1", validation_alias="AWS_REGION")
    """Region of buckets that are made."""


def inherited() -> dict[str, str]:
    """A copy of this process's environment."""
    return dict(os.environ)
