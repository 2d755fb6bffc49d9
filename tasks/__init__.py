"""Prefect tasks: the steps of `lookalike` with retries, time-outs, progress and reports, and no logic of their own.

Importing this package fixes how Prefect behaves in this process (`tasks.environment`), before Prefect is imported.
"""

from tasks.environment import settle

settle()
