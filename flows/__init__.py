"""The order of the steps and nothing else: what a step does stands in `lookalike`, how it is run in `tasks`."""

import tasks  # noqa: F401  (settles Prefect's environment before Prefect is imported)
