"""Codes -> index snapshot."""

from prefect import flow

from flows.parameters import Index
from tasks import stages, steps


@flow(name="index")
def index(parameters: Index) -> str:
    """Build the index; returns the reference of the index snapshot."""
    return stages.leave_reference(
        steps.build_index(parameters.store, parameters.extraction, parameters.shards)
    )
