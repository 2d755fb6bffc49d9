"""Settings of the tasks: how patient they are, and whether stages run here or as deployments of their own.

`lookalike.settings.TaskSettings` holds them: the table ``[task]`` of the settings file, and environment variables such
as ``LOOKALIKE_TASK_ATTEMPTS``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prefect.cache_policies import NO_CACHE

from lookalike.errors import OutcomeUnknown, StoreUnavailable
from lookalike.settings import TaskSettings

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
