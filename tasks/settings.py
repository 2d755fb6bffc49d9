"""Settings of the tasks: how patient they are, and whether stages run here or as deployments of their own.

Environment variables with the prefix ``LOOKALIKE_TASK_`` set them, such as ``LOOKALIKE_TASK_ATTEMPTS``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from prefect.cache_policies import NO_CACHE
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from lookalike.errors import OutcomeUnknown, StoreUnavailable


class TaskSettings(BaseSettings):
    """Patience and place."""

    model_config = SettingsConfigDict(env_prefix="LOOKALIKE_TASK_", frozen=True)

    attempts: int = Field(default=5, ge=1, le=20)
    """How often a task is tried while the store cannot be reached."""
    first_delay_s: float = Field(default=5, gt=0)
    """Seconds before the second attempt; doubled each time, so five attempts outlast a minute without the store."""
    jitter: float = Field(default=0.3, ge=0)
    """Each delay is stretched by up to this fraction, so that many workers do not come back at once."""
    timeout_h: float = Field(default=6, gt=0)
    """Hours that a step may take, training excepted."""
    training_timeout_h: float = Field(default=72, gt=0)
    """Hours that training may take."""
    stages: Literal["here", "deployments"] = "here"
    """Where the stages of `retrain` and `reindex` run: in this process, or each as a run of its own deployment."""
    stage_attempts: int = Field(default=3, ge=1, le=20)
    """How often a stage that runs elsewhere is run while its runs crash (its pod was killed, its node went away)."""
    starts: int = Field(default=5, ge=1, le=100)
    """How often a parent whose stages run elsewhere may be started before it is given up: it crashed all the time."""


TASKS = TaskSettings()


def transient(task: Any, run: Any, state: Any) -> bool:
    """Whether trying again can help: the store was away. A wrong catalogue or a failed gate stays what it is."""
    try:
        state.result()
    except (StoreUnavailable, OutcomeUnknown):
        return True
    except Exception:
        return False
    return False


def patient(*, timeout_h: float = TASKS.timeout_h) -> dict[str, Any]:
    """Options that every task carries. Nothing is cached by Prefect: the store knows what is done."""
    condition: Callable[..., bool] = transient
    return {
        "retries": TASKS.attempts - 1,
        "retry_delay_seconds": [TASKS.first_delay_s * 2**i for i in range(TASKS.attempts - 1)],
        "retry_jitter_factor": TASKS.jitter,
        "retry_condition_fn": condition,
        "timeout_seconds": timeout_h * 3600,
        "cache_policy": NO_CACHE,
        "persist_result": False,
    }
