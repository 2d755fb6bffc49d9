"""Recipes: how a network is trained, each a function that returns one frozen value.

`ebay_resnet50` is the paper's, from scratch; others change the size of the network and of its input, and the schedule,
or start from weights that were trained on other photos. What
changes the result is part of the model release's identity (`identity`): another recipe is another release, and the same
under another name is not. In a field that is added, 0, false or empty must mean off.
Nothing here needs torch, so that a name can be checked, and all of them listed, before anything is loaded. Other
packages add recipes (`plugins`); to list them imports none. The settings file changes recipes and adds derived ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from lookalike.aspects.boosting import AspectTraining
from lookalike.coding.release import TransformPreset
from lookalike.errors import SettingsError, unknown
from lookalike.layers import merged
from lookalike.learning.augmentation import Augmentation
from lookalike.learning.choice import AUTO, SAID
from lookalike.plugins import Registry
from lookalike.settings import named_table, names_in


@dataclass(frozen=True, slots=True)
class Stage:
    """How one stage of training goes over its data."""

    epochs: int
    """Passes over the data; with `plateau` the most there can be."""
    rate: float
    """Learning rate at its highest, for a batch of `batch` photos."""
    batch: int = 64
    """Photos of one step, over all processes together."""
    rank_batch: int = 0
    """Photos of one step for each process; the rate grows with their sum, as `rate` is for `batch` (Goyal et al. 2017).
    0: `batch`, however many share it."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """`sgd` is with Nesterov's momentum; `adamw` divides each step by its own usual size (Loshchilov and Hutter,
    ICLR 2019), and is what transformers are tuned by."""
    plain_momentum: bool = False
    """`sgd` without Nesterov's look ahead."""
    momentum: float = 0.9
    """Of stochastic gradient descent; of `adamw` the first beta, while the second is 0.999."""
    weight_decay: float = 5e-4
    """Factor of the squared weights in the loss; the usual one of networks that are trained from scratch. For kernels
    and matrices alone: norms, biases and positions keep their size."""
    head_factor: float = 0.0
    """Times `rate` at which the category head learns beside a trunk that has learned already; 0: as the trunk."""
    layer_decay: float = 0.0
    """Each layer of the trunk learns at this share of the rate of the layer above it; 0: all at one rate."""
    held: float = 0.0
    """Share of the trunk's layers, the first ones, that stay as they start. They are a part of the photo's path, but
    not of the gradient's. That saves a third of a step where they are a third."""
    thawing: float = 0.0
    """Epochs until all of the trunk learns: the head alone at first, then the trunk's layers from the last to the
    first, evenly; 0: all from the start."""
    policy: Literal["plateau", "cosine"] = "cosine"
    """`plateau`, the paper's: lower the rate whenever validation accuracy saturates, and keep the best epoch.
    `cosine`: one cycle from warm-up to zero, and keep the last."""
    warmup_epochs: float = 2.0
    """Epochs over which the rate rises to `rate`."""
    patience: int = 4
    """`plateau`: epochs without a better validation accuracy after which the rate is lowered."""
    lowered_to: float = 0.1
    """`plateau`: factor by which the rate is lowered."""
    rounds: int = 3
    """`plateau`: how many rates are tried, the first included."""
    label_smoothing: float = 0.0
    """Share of a label that is spread over all categories, so that no answer gets too sure; 0: off."""
    mixup: float = 0.0
    """Parameter of the Beta distribution by which two photos of a batch are mixed; 0: off (Zhang et al. 2018)."""
    average: float = 0.0
    """Decay, per step, of the running average of the weights that is validated and released; 0: off."""
    sizes: tuple[tuple[float, int], ...] = ()
    """(part of the epochs, pixels): the photo's size grows through the stage; empty: always the preset's crop."""
    views: int = 4
    """Hash stage, and both where the trunk is frozen: views of each photo whose features are computed once. The first
    is the photo as search sees it, the others are augmented. 0 in a hash stage: augmented anew in every epoch, for the
    price of as many passes through the trunk."""
    trunk_share: float = 0.0
    """Hash stage: share of the rate at which the trunk learns on, together with the category head; 0: frozen."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides how a release is trained."""

    name: str
    """What people call it; no part of the release's identity."""
    trunk: str
    """Name that `trunks.build_trunk` takes."""
    preset: TransformPreset
    category_stage: Stage
    hash_stage: Stage
    bits: int = 4096
    """Bits of a code; a multiple of 8. The paper's number."""
    hash_head: str = "sigmoid"
    """The hash layer and what trains it: see `hashing`; `split` needs no training and leaves `hash_stage` out, and so
    does one that another package adds."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    aspects: AspectTraining = field(default_factory=AspectTraining)
    """How aspect models are fitted; the usual way is no part of the release's identity."""
    weights: str = ""
    """Where a training starts unless told otherwise, as `starting` names it; empty: from scratch. Part of a release's
    identity beside the recipe."""
    frozen: bool = False
    """Leave the trunk as its starting weights have it, and train the heads alone."""
    looks: bool = False
    """See the object: pool the trunk's features over it, and give its colours bits of their own (`looks`)."""
    variants: bool = False
    """Learn by half of the bits about the look of a `split` head which photos show the same product and colour
    (`variants`)."""
    bf16: bool = True
    """Compute in bfloat16 where the machine has instructions for it; weights and losses stay in float32."""
    seed: int = 0
    """Of the first weights, the order of photos, and their variation."""


def ebay_resnet50() -> Recipe:
    """The paper: ResNet-50 from scratch, 256 -> 227, the rate lowered when validation saturates. For GPUs."""
    stage = Stage(
        epochs=90, rate=0.1, batch=256, rank_batch=256, policy="plateau", warmup_epochs=1.0, weight_decay=1e-4
    )
    return Recipe(
        "ebay_resnet50",
        trunk="resnet50",
        preset=TransformPreset("squash-256-227", 256, 227),
        category_stage=stage,
        hash_stage=Stage(
            epochs=30, rate=0.1, batch=256, rank_batch=256, policy="plateau", weight_decay=0.0, views=2
        ),
    )


def paper() -> Recipe:
    """The paper to the letter, for comparison: docs/paper.md says what `ebay_resnet50` does otherwise. For GPUs."""
    stage = Stage(
        epochs=90,
        rate=0.1,
        batch=256,
        policy="plateau",
        warmup_epochs=0.0,
        weight_decay=1e-4,
        plain_momentum=True,
    )
    return Recipe(
        "paper",
        trunk="resnet50-he",
        preset=TransformPreset("squash-256-227", 256, 227),
        category_stage=stage,
        hash_stage=replace(stage, epochs=30, weight_decay=0.0, views=0),
        hash_head="paper",
        augmentation=Augmentation(
            whole_pixels=True, brightness=0, contrast=0, saturation=0, tint=0, grey=0, blur=0, erase=0
        ),
        bf16=False,
    )


def small_cpu() -> Recipe:
    """A narrow ResNet-18 at 112 pixels: four thousand photos in half an hour to forty minutes of two CPU cores."""
    return Recipe(
        "small_cpu",
        trunk="resnet18-w32",
        preset=TransformPreset("squash-128-112", 128, 112),
        hash_head="split",
        category_stage=Stage(
            epochs=200,
            rate=0.1,
            batch=64,
            warmup_epochs=3.0,
            label_smoothing=0.1,
            average=0.998,
            sizes=((0.4, 64), (0.75, 96), (1.0, 112)),
        ),
        hash_stage=Stage(epochs=30, rate=0.1, batch=128, weight_decay=0.0),
    )


def demo() -> Recipe:
    """A narrow ResNet-18 at 88 pixels: the generated sample catalogue in two to three minutes on two cores."""
    return Recipe(
        "demo",
        trunk="resnet18-w32",
        preset=TransformPreset("squash-96-88", 96, 88),
        hash_head="split",
        category_stage=Stage(
            epochs=50,
            rate=0.1,
            batch=32,
            warmup_epochs=2.0,
            label_smoothing=0.05,
            average=0.99,
            sizes=((0.35, 64), (1.0, 88)),
        ),
        hash_stage=Stage(epochs=20, rate=0.5, batch=128, weight_decay=0.0, views=3),
        augmentation=Augmentation(area=(0.35, 1.4), degrees=25.0, brightness=0.4),
    )


def frozen() -> Recipe:
    """EfficientNet-Lite0 as ImageNet left it, heads alone: a thousand photos in half a minute of two CPU cores."""
    # Tried on the sample: other decay, rate, smoothing, views, pooling: one or two queries of 216 (docs/training.md).
    return Recipe(
        "frozen",
        trunk="efficientnet_lite0",
        preset=TransformPreset("squash-224-224", 224, 224, mean=(0.498,) * 3, std=(0.502,) * 3),
        weights="lite0",
        frozen=True,
        looks=True,
        variants=True,
        bf16=False,
        hash_head="split",
        category_stage=Stage(
            epochs=40,
            rate=0.05,
            batch=128,
            warmup_epochs=1.0,
            weight_decay=0.05,
            label_smoothing=0.1,
            views=1,
        ),
        hash_stage=Stage(epochs=30, rate=0.1, batch=128, weight_decay=0.0),
    )


def tuned() -> Recipe:
    """EfficientNet-Lite0 tuned from ImageNet's weights: some thousand photos in twenty minutes of two CPU cores."""
    # Photos are seen at 224 pixels and learned from at up to 192: a random crop shows things larger than the whole
    # photo does (Touvron et al., NeurIPS 2019), and a step costs a quarter less. bfloat16 makes it slower on a CPU.
    return Recipe(
        "tuned",
        trunk="efficientnet_lite0",
        preset=TransformPreset("squash-224-224", 224, 224, mean=(0.498,) * 3, std=(0.502,) * 3),
        weights="lite0",
        looks=True,
        bf16=False,
        hash_head="split",
        category_stage=Stage(
            epochs=10,
            rate=0.02,
            batch=32,
            warmup_epochs=0.5,
            weight_decay=1e-4,
            head_factor=5.0,
            held=0.33,
            label_smoothing=0.1,
            average=0.995,
            sizes=((0.4, 160), (1.0, 192)),
        ),
        hash_stage=Stage(epochs=30, rate=0.1, batch=128, weight_decay=0.0),
    )


def tuned_adamw() -> Recipe:
    """For transformers and ConvNeXt (``--weights timm:NAME``): AdamW, each layer slower than the one above it."""
    # Not measured: no such weights could be fetched. Rate and decay are published ones (Bao et al., BEiT, ICLR 2022).
    return replace(
        tuned(),
        name="tuned_adamw",
        bf16=True,
        category_stage=replace(
            tuned().category_stage,
            optimizer="adamw",
            rate=5e-4,
            weight_decay=0.05,
            warmup_epochs=1.0,
            head_factor=2.0,
            held=0.0,
            layer_decay=0.7,
            thawing=1.0,
            sizes=(),
        ),
    )


def fashion_mnist() -> Recipe:
    """A ResNet-10 with a stem for tiny photos at 28 pixels: Fashion-MNIST in half an hour of one CPU core."""
    return Recipe(
        "fashion_mnist",
        trunk="resnet10-w32-fine",
        preset=TransformPreset("squash-28-28", 28, 28),
        hash_head="split",
        category_stage=Stage(
            epochs=22,
            rate=0.1,
            batch=128,
            warmup_epochs=1.0,
            label_smoothing=0.1,
            average=0.999,
            sizes=((0.4, 20), (0.7, 24), (1.0, 28)),
        ),
        hash_stage=Stage(epochs=10, rate=0.1, batch=256, weight_decay=0.0, views=2),
        augmentation=Augmentation(
            area=(0.7, 1.3), aspect=1.2, degrees=5.0, saturation=0.0, tint=0.0, grey=0.0, blur=0.0, erase=0.4
        ),
    )


def fashion_mnist_finish() -> Recipe:
    """Goes on from a release of `fashion_mnist` (``--weights``) with weaker augmentation: it had not learned all."""
    return replace(
        fashion_mnist(),
        name="fashion_mnist_finish",
        category_stage=Stage(
            epochs=8, rate=0.05, batch=128, warmup_epochs=0.5, label_smoothing=0.1, average=0.999
        ),
        augmentation=Augmentation(
            area=(0.8, 1.15),
            aspect=1.1,
            degrees=3.0,
            brightness=0.1,
            contrast=0.1,
            saturation=0.0,
            tint=0.0,
            grey=0.0,
            blur=0.0,
            erase=0.2,
        ),
    )


def tiny() -> Recipe:
    """A toy for tests: seconds, and no quality to speak of."""
    return Recipe(
        "tiny",
        trunk="resnet10-w8",
        preset=TransformPreset("squash-40-32", 40, 32),
        category_stage=Stage(epochs=4, rate=0.05, batch=32, warmup_epochs=1.0, average=0.9),
        hash_stage=Stage(epochs=3, rate=0.5, batch=64, weight_decay=0.0, views=2),
        bits=512,
        bf16=False,
    )


_SMALL = (fashion_mnist, fashion_mnist_finish, demo, tiny)
_OURS = (small_cpu, frozen, tuned, tuned_adamw, ebay_resnet50, paper, *_SMALL)
RECIPES: Registry[Callable[[], Recipe]] = Registry(
    "lookalike.recipes", "recipe", {recipe.__name__: recipe for recipe in _OURS}
)


def recipe_names() -> list[str]:
    """Ours, those of other packages, and those of the settings file."""
    return list(dict.fromkeys([*RECIPES, *names_in("recipes")]))


def recipe_named(name: str) -> Recipe:
    """The recipe, with what ``[recipes.NAME]`` of the settings file changes in it.

    A table of a new name says with `base` which recipe it is derived from. Raises `SettingsError` where there is no
    recipe of that name, or where its table is wrong.
    """
    return _recipe(name, ())


def _recipe(name: str, derived: tuple[str, ...]) -> Recipe:
    """`derived` are the names that are derived from it, each from the next."""
    table = named_table("recipes", name)
    if table is None:
        return _declared(name)
    said = dict(table.said)
    base = said.pop("base", name)
    if base in derived or (base == name and name not in RECIPES):
        known = ", ".join(each for each in recipe_names() if each != name)
        raise SettingsError(
            f"{table.where()}: [recipes.{name}]: base must name the recipe it starts from: {known}"
        )
    if "name" in said:
        raise SettingsError(f"{table.where('name')}: [recipes.{name}]: the table's name is the recipe's")
    start = _declared(name) if base == name else _recipe(base, (*derived, name))
    return merged(replace(start, name=name), said, table)


def _declared(name: str) -> Recipe:
    if name not in RECIPES:
        raise SettingsError(unknown("recipe", name, recipe_names()))
    recipe = RECIPES[name]()
    if not isinstance(recipe, Recipe):
        raise SettingsError(
            f"the recipe {name!r} of {RECIPES.distribution(name)} is a {type(recipe).__name__}, no Recipe"
        )
    return recipe


def described() -> dict[str, str]:
    """`auto`, and each recipe with the first line of what its function says of it, or the package that adds it."""
    said = {AUTO: SAID}
    said |= {name: (recipe.__doc__ or "").partition("\n")[0] for name, recipe in RECIPES.built_in.items()}
    said |= {name: f"Of {RECIPES.distribution(name)}." for name in RECIPES if name not in said}
    return said | {name: "Of the settings file." for name in names_in("recipes") if name not in said}
