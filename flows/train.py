"""Curated snapshot -> model release."""

from prefect import flow

from flows.parameters import Train
from tasks import stages, steps


@flow(name="train")
def train(parameters: Train) -> str:
    """Train a network; returns the reference of the model release."""
    return stages.leave_reference(
        steps.train(parameters.store, parameters.curated, parameters.recipe.value, parameters.threads)
    )
