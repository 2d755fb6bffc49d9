"""Augmentation: per photo, within its limits, and a function of the seed."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from lookalike.coding.release import TransformPreset
from lookalike.learning.transforms import (
    Augmentation,
    Normalisation,
    RandomGeometry,
    RandomLighting,
    RandomVariation,
    plain_transform,
    seeded,
    training_transform,
)

PRESET = TransformPreset("test", 48, 40)
STILL = Augmentation(
    area=(1.0, 1.0), aspect=1.0, degrees=0, mirror=0, brightness=0, contrast=0, saturation=0, tint=0, grey=0,
    blur=0, erase=0,
)  # fmt: skip


def squares(count: int = 8, side: int = 48) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(count, 3, 6, 6, generator=generator)
    return (torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear") * 255).to(torch.uint8)


def test_without_augmentation_the_photo_is_left_as_it_is() -> None:
    photos = squares()
    assert torch.allclose(RandomGeometry(48, STILL)(photos), photos / 255, atol=1e-5)
    inside = photos / 255
    assert torch.allclose(RandomLighting(STILL)(inside), inside, atol=1e-6)
    assert torch.equal(RandomVariation(STILL)(inside), inside)


def test_mirror_turns_left_and_right() -> None:
    photos = squares()
    mirrored = RandomGeometry(48, dataclasses.replace(STILL, mirror=1.0))(photos)
    assert torch.allclose(mirrored, photos.flip(3) / 255, atol=1e-5)


def test_rotation_by_a_right_angle_is_the_rotated_photo() -> None:
    transform = RandomGeometry(48, STILL)
    theta = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]).expand(8, 2, 3)
    photos = squares()
    assert torch.allclose(
        transform.transform(photos, {"theta": theta}), photos.rot90(1, (2, 3)) / 255, atol=1e-5
    )


def test_every_view_stays_inside_the_photo() -> None:
    with seeded(3):
        theta = RandomGeometry(40, dataclasses.replace(STILL, area=(0.2, 1.0), aspect=1.5)).make_params(
            [squares(512)]
        )["theta"]
    reach = theta[:, :, :2].abs().sum(dim=2) + theta[:, :, 2].abs()
    assert reach.max() <= 1 + 1e-6
    assert reach.min() < 1  # some views touch no side


def test_a_view_larger_than_the_photo_shows_it_smaller_and_reflected() -> None:
    photos = torch.full((4, 3, 48, 48), 90, dtype=torch.uint8)
    photos[:, :, 20:28, 20:28] = 200
    whole = RandomGeometry(48, dataclasses.replace(STILL, area=(1.96, 1.96)))
    with seeded(1):
        views = whole(photos) * 255
    bright = (views[:, 0] > 145).float().mean(dim=(1, 2))
    assert bright.tolist() == pytest.approx([(8 / 48) ** 2 / 1.96] * 4, abs=0.005)
    assert views.min() > 89


def test_photos_of_a_batch_differ_in_their_augmentation() -> None:
    same = squares(1).expand(6, -1, -1, -1)
    with seeded(0):
        views = training_transform(PRESET, 40, Augmentation())(same)
    assert views.shape == (6, 3, 40, 40)
    assert views.dtype == torch.float32
    gaps = torch.cdist(views.flatten(1), views.flatten(1))
    assert (gaps + torch.eye(6) * 1e9).min() > 1


@pytest.mark.parametrize("size", [24, 32, 40])
def test_the_seed_decides_everything(size: int) -> None:
    transform, photos = training_transform(PRESET, size, Augmentation()), squares()
    outside = torch.get_rng_state()
    with seeded(7, 1, 2):
        first = transform(photos)
    torch.rand(3)
    with seeded(7, 1, 2):
        again = transform(photos)
    with seeded(7, 1, 3):
        other = transform(photos)
    torch.set_rng_state(outside)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_seed_leaves_the_generator_as_it_was() -> None:
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    with seeded(1):
        torch.rand(100)
    assert torch.equal(torch.rand(2), expected)


def test_grey_photos_have_equal_channels() -> None:
    grey = RandomLighting(dataclasses.replace(STILL, grey=1.0))(squares() / 255)
    assert torch.allclose(grey[:, 0], grey[:, 2], atol=1e-5)


def test_contrast_keeps_the_mean_of_a_photo() -> None:
    photos = 0.4 + 0.2 * squares() / 255
    with seeded(2):
        changed = RandomLighting(dataclasses.replace(STILL, contrast=0.5))(photos)
    assert torch.allclose(changed.mean(dim=(2, 3)), photos.mean(dim=(2, 3)), atol=1e-4)
    assert not torch.allclose(changed, photos, atol=0.01)


def test_erasing_leaves_one_flat_rectangle() -> None:
    photos = torch.rand(16, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    with seeded(4):
        erased = RandomVariation(dataclasses.replace(STILL, erase=1.0))(photos)
    share = (erased != photos).all(dim=1).float().mean(dim=(1, 2))
    assert share.min() > 0
    assert share.max() <= 0.3


def test_the_plain_transform_is_the_preset() -> None:
    photos = squares()
    window = photos[:, :, 4:44, 4:44] / 255
    expected = (window - torch.tensor(PRESET.mean).view(3, 1, 1)) / torch.tensor(PRESET.std).view(3, 1, 1)
    assert torch.allclose(plain_transform(PRESET)(photos), expected, atol=1e-6)


def test_normalisation_is_torchvisions_to_the_last_bit() -> None:
    from torchvision.transforms import v2

    photos = torch.rand(4, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    expected = v2.Normalize(list(PRESET.mean), list(PRESET.std))(photos)
    assert torch.equal(Normalisation(PRESET)(photos), expected)


def test_a_crop_in_whole_pixels_is_a_part_of_the_photo_as_it_is() -> None:
    photos = squares()
    whole = dataclasses.replace(STILL, whole_pixels=True)
    with seeded(3):
        plain = training_transform(dataclasses.replace(PRESET, mean=(0,) * 3, std=(1,) * 3), 40, whole)(
            photos
        )
    places = []
    for photo, found in zip(photos / 255, plain, strict=True):
        windows = photo.unfold(1, 40, 1).unfold(2, 40, 1)  # [3, 9, 9, 40, 40]
        same = (windows - found[:, None, None]).abs().amax(dim=(0, 3, 4)) < 1e-6
        places.append(tuple(same.nonzero()[0].tolist()))
    assert len(set(places)) > 4
    mirrored = training_transform(PRESET, 48, dataclasses.replace(whole, mirror=1.0))(photos)
    assert torch.allclose(mirrored, Normalisation(PRESET)(photos.flip(3) / 255), atol=1e-6)
