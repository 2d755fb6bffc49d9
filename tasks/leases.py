"""Leases of Prefect's concurrency slots that outlast its server: on disk, and with time to come back.

Prefect keeps them in memory by default. A server that starts again has then forgotten them, and answers each run that
renews its lease with `410 Gone`, at which the run ends itself; the slots stay taken. On disk alone they would expire
while the server is away. So a lease lasts `GRACE` longer than whoever holds it asked for: a run renews every 225 s a
lease of 300 s. A run that ends, in whatever state, gives its slots back at once. `GRACE` delays only those of a run
that vanished, which *lost runs have crashed* ends (`tasks.registration`).

Prefect's server loads this module by PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE (`tasks.environment`, k8s/base/prefect).
The leases lie in its PREFECT_HOME.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from prefect.server.concurrency.lease_storage import ConcurrencyLimitLeaseMetadata, filesystem
from prefect.server.utilities.leasing import ResourceLease

GRACE = timedelta(minutes=15)
"""How long the server may be away before runs that are at work lose their slots."""


class ConcurrencyLeaseStorage(filesystem.ConcurrencyLeaseStorage):
    """Prefect's storage in files; every lease lasts `GRACE` longer than asked."""

    async def create_lease(
        self, resource_ids: list[UUID], ttl: timedelta, metadata: ConcurrencyLimitLeaseMetadata | None = None
    ) -> ResourceLease[ConcurrencyLimitLeaseMetadata]:
        return await super().create_lease(resource_ids, ttl + GRACE, metadata)

    async def renew_lease(self, lease_id: UUID, ttl: timedelta) -> bool:
        return await super().renew_lease(lease_id, ttl + GRACE)
