"""Codes -> index snapshot."""

from prefect import flow

from flows.parameters import Index
from tasks import stages, steps


@flow(name="index")
def index(parameters: Index) -> str:
    """Build the index, or a delta over the live one; returns the reference of what is to be published."""
    return stages.leave_reference(
        steps.build_index(parameters.store, parameters.extraction, parameters.shards, parameters.difference)
    )
