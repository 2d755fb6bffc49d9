"""Half of the bits about the look learn which photos show one variant, also of products that were not learned from."""

from __future__ import annotations

import pyarrow as pa
import pytest
import torch
from torch import Tensor, nn

from lookalike.learning.hash_heads import SplitHashHead
from lookalike.learning.variants import learned, supervised_contrastive, variants_of

FEATURES, OWN, BITS = 64, 16, 2048


@pytest.fixture
def photos() -> tuple[Tensor, Tensor]:
    """Features f32 [800, 64] of 200 variants: a quarter says which, the rest how it lies."""
    generator = torch.Generator().manual_seed(0)
    variants = torch.arange(800) // 4
    features = torch.randn(800, FEATURES, generator=generator)
    thing = torch.randn(200, OWN, generator=generator)[variants]
    features[:, :OWN] = thing + 0.2 * torch.randn(800, OWN, generator=generator)
    return 5 + features, variants


def found(head: SplitHashHead, features: Tensor, variants: Tensor) -> float:
    """The share of photos whose nearest other by the bits about the look is of their variant."""
    bits = (head(features)[:, head.category_bits :] > 0.5).float()
    distances = torch.cdist(bits, bits, p=1).fill_diagonal_(torch.inf)
    return float((variants[distances.argmin(dim=1)] == variants).float().mean())


def test_photos_of_one_variant_come_close_also_of_new_products(photos: tuple[Tensor, Tensor]) -> None:
    features, variants = photos
    torch.manual_seed(0)
    head = SplitHashHead(FEATURES, BITS, 4)
    head.fit(features[:400], nn.Linear(FEATURES, 4))
    look, category = head.of_look.weight.clone(), head.of_category.weight.clone()
    before = found(head, features[400:], variants[400:])
    matrix = learned(features[:400], variants[:400], torch.device("cpu"))
    assert matrix is not None
    head.learn(features[:400], matrix)
    assert found(head, features[400:], variants[400:]) > before + 0.2
    half = len(look) // 2
    assert torch.allclose(head.of_look.weight[:half], look[:half], rtol=1e-3), "the first half stays"
    assert torch.equal(head.of_category.weight, category)
    ones = (head(features[:400])[:, head.category_bits :] > 0.5).float().mean()
    assert 0.45 < ones < 0.55, "bits are centred"


def test_nothing_is_learned_of_photos_without_fellows() -> None:
    features = torch.randn(300, FEATURES)
    assert learned(features, torch.arange(300), torch.device("cpu")) is None
    few = torch.arange(300).where(torch.arange(300) >= 40, 0)
    assert learned(features, few, torch.device("cpu")) is None


def test_the_loss_is_least_where_fellows_lie_together() -> None:
    labels = torch.tensor([0, 0, 1, 1, 2])
    together = torch.eye(3)[labels]
    assert supervised_contrastive(together, labels) < supervised_contrastive(together.roll(1, 0), labels)


def test_a_variant_is_a_product_in_its_main_colour_or_else_a_listing() -> None:
    table = pa.table(
        {
            "listing_id": ["a", "b", "c", "d", "e", "f"],
            "product": ["shirt", "shirt", "shirt", None, None, "shirt"],
            "aspect_colour": [["red", "blue"], ["red"], ["blue", "red"], ["red"], ["red"], None],
        }
    )
    a, b, c, d, e, f = variants_of(table).tolist()
    assert a == b
    assert len({a, c, d, e, f}) == 5
    assert variants_of(table.drop(["aspect_colour"])).unique().numel() == 3
