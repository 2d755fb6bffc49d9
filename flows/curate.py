"""Catalogue -> curated snapshot."""

from prefect import flow

from flows.parameters import Curate
from tasks import stages, steps


@flow(name="curate")
def curate(parameters: Curate = Curate()) -> str:
    """Check the catalogue and its photos; returns the reference of the curated snapshot."""
    return stages.leave_reference(
        steps.curate(
            parameters.store,
            parameters.catalogue,
            parameters.columns,
            parameters.curation(),
            parameters.release,
            parameters.layout(),
        )
    )
