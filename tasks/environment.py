"""How Prefect behaves wherever our flows run: nothing is sent to anybody, and no website may ask it for anything
through its visitors' browsers. The only place that says so.

Prefect reads these variables when it is imported, so `settle` must come first; `tasks/__init__.py` sees to that, and
processes that we start inherit them. What somebody has set already stands, save for analytics, which are off.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path

NO_ANALYTICS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_TELEMETRY_ENABLE_RESOURCE_METRICS": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
}


PATIENT = {
    "PREFECT_CLIENT_MAX_RETRIES": "7",  # 2 + 4 + ... + 128 s: a request outlasts four minutes without a server
}
LASTING = {
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "tasks.leases",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(30 * 24 * 3600),
}
"""A server that stays: leases outlast it, and runs that ended a month ago go, with their logs and artifacts."""


def settle(environment: MutableMapping[str, str] = os.environ) -> None:
    """Turn analytics off in `environment`, and give the embedded server time: its first start makes its tables."""
    environment.update(NO_ANALYTICS)
    environment.setdefault("PREFECT_SERVER_CORS_ALLOWED_ORIGINS", "http://127.0.0.1:4200")
    environment.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
    for name, value in PATIENT.items():
        environment.setdefault(name, value)


def own_home(directory: Path, environment: MutableMapping[str, str] = os.environ) -> None:
    """Keep Prefect's database, profiles and results under `directory` instead of the user's home."""
    settle(environment)
    home = directory.absolute()
    home.mkdir(parents=True, exist_ok=True)
    environment["PREFECT_HOME"] = str(home)
    environment.setdefault("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "ignore")


def lasting_server(environment: MutableMapping[str, str] = os.environ) -> None:
    """For a server of its own that finds our code (the working directory, PYTHONPATH): let it outlive restarts."""
    for name, value in LASTING.items():
        environment.setdefault(name, value)


def passing_server(environment: MutableMapping[str, str] = os.environ) -> None:
    """For a server that ends with this process: no block types, for which it would import every integration."""
    environment.setdefault("PREFECT_SERVER_REGISTER_BLOCKS_ON_START", "false")


def quieten(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let Prefect log warnings alone, where nobody has said otherwise."""
    environment.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
