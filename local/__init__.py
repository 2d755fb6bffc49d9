"""Everything on one machine: the flows served from here, `make up` and `make demo`."""

import tasks  # noqa: F401  (settles Prefect's environment before Prefect is imported)
