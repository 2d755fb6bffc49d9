"""How a training begins: its recipe and its starting weights, checked and chosen before hours of work.

`steps` asks, and so do the command line and the flows for what they are told by name. Nothing here imports torch unless
weights have to be looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from lookalike.settings import available_cores
from lookalike.storage.artefacts import Kind, Ref, fetch, read_manifest

if TYPE_CHECKING:
    from lookalike.coding.release import ModelCard
    from lookalike.workplace import Workplace


def known_recipe(name: str) -> str:
    """`name`, which is a recipe's, or `auto`. Raises `SettingsError`."""
    from lookalike.learning.choice import AUTO
    from lookalike.learning.recipes import recipe_named

    if name != AUTO:
        recipe_named(name)
    return name


def chosen_recipe(
    place: Workplace,
    curated: Ref,
    asked: str,
    *,
    weights: str = "",
    gpu: bool | None = None,
    told: Callable[[str], None] = lambda said: None,
) -> str:
    """`asked`, or for `auto` the recipe that suits the snapshot; `told` hears which, why, and how long it may take.

    A training that goes on from a release goes on by its recipe. `gpu` says whether there will be one; by default this
    process looks.
    """
    from lookalike.learning.choice import AUTO, choose
    from lookalike.learning.extraction import has_gpu

    if asked != AUTO:
        return asked
    if weights.startswith(f"{Kind.RELEASE}/"):
        own = card_of(place, Ref.parse(weights)).recipe
        told(f"recipe {own}: that of the release it goes on from")
        return own
    photos = int(read_manifest(place.store, curated).meta.get("photos", 0))
    gpu = has_gpu() if gpu is None else gpu
    choice = choose(photos, gpu=gpu, cores=place.threads or available_cores(), weights=weights)
    told(str(choice))
    return choice.recipe


def check_weights(place: Workplace, asked: str, recipe: str = "") -> None:
    """Before hours of work: raises `StorageError` where `asked` is a release that the store does not hold.

    With a recipe it also raises `SettingsError` where a training by it cannot start from `asked`, or, where that is
    empty, from the weights that the recipe names.
    """
    if asked.startswith(f"{Kind.RELEASE}/"):
        read_manifest(place.store, Ref.parse(asked))
    from lookalike.learning.choice import AUTO
    from lookalike.learning.recipes import recipe_named

    if recipe == AUTO:
        if asked not in ("", "scratch"):
            from lookalike.learning.starting import StartingWeights

            StartingWeights.parse(asked)
    elif recipe and (asked or recipe_named(recipe).weights):
        from lookalike.learning.starting import begun

        begun(recipe_named(recipe), asked or None)


def weights_of_live(place: Workplace, live: Ref, curated: Ref, recipe: str) -> str:
    """The starting weights of a training that begins with the live model release.

    One that has learned from this very snapshot by this recipe is what the caller is after: then its own start is
    named, by which it is found finished.
    """
    from lookalike.learning.identity import is_training_by
    from lookalike.learning.recipes import recipe_named

    recipe = chosen_recipe(place, curated, recipe, weights=str(live))
    release = read_manifest(place.store, live)
    if release.inputs.get("curated") == str(curated) and is_training_by(recipe_named(recipe), release.config):
        return str(release.config.get("weights", ""))
    return str(live)


def card_of(place: Workplace, release: Ref) -> ModelCard:
    """What a model release says of itself."""
    from lookalike.coding.release import ModelCard

    return ModelCard.read(fetch(place.store, release, place.cache_dir, ["model.json"]).path("model.json"))
