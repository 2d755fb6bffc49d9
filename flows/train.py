"""Curated snapshot -> model release, by one process or by several machines."""

from prefect import flow

from flows.parameters import Train, TrainOnNodes
from tasks import stages, steps


@flow(name="train")
def train(parameters: Train) -> str:
    """Train a network; returns the reference of the model release."""
    return stages.leave_reference(
        steps.train(
            parameters.store,
            parameters.curated,
            parameters.recipe.value,
            _starting_weights(parameters),
            parameters.threads,
        )
    )


def _starting_weights(asked: Train) -> str:
    return steps.starting_weights(asked.store, asked.weights, asked.curated, asked.recipe.value)


@flow(name="train-on-nodes")
def train_on_nodes(parameters: TrainOnNodes) -> str:
    """Let a Job of several pods train, and wait for it; returns the reference of the model release."""
    return stages.leave_reference(
        steps.train_on_nodes(
            parameters.store,
            parameters.curated,
            parameters.recipe.value,
            _starting_weights(parameters),
            parameters.nodes,
            parameters.processes,
        )
    )
