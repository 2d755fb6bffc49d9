"""Curated snapshot and model release -> codes."""

from prefect import flow

from flows.parameters import Extract
from tasks import stages, steps


@flow(name="extract")
def extract(parameters: Extract) -> str:
    """Encode the photos that have no code yet; returns the reference of the extraction."""
    return stages.leave_reference(
        steps.extract(parameters.store, parameters.curated, parameters.release, parameters.threads)
    )
