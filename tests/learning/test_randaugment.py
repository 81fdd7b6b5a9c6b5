import pytest
import torch
from torchvision.transforms import v2

from pipeline.learning.images.augmentation import augment
from pipeline.learning.images.randaugment import OPERATIONS, SIGNED, STEPS, randaugment
from pipeline.learning.settings import Augment, RandAugment

THEIRS = v2.RandAugment(interpolation=v2.InterpolationMode.BILINEAR)


def images(n=3, channels=1, size=24):
    """Smooth pictures with a gradient, so that every operation changes them."""
    rng = torch.Generator().manual_seed(0)
    coarse = 0.2 + 0.6 * torch.rand(n, channels, 6, 6, generator=rng)
    return torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("name", "sign"), [(name, sign) for name in OPERATIONS for sign in (1, -1)])
def test_an_operation_is_that_of_torchvision_image_by_image(name, sign, channels):
    given, magnitude = images(channels=channels), 9
    theirs = THEIRS._AUGMENTATION_SPACE[name][0](31, 24, 24)
    amount = 0.0 if theirs is None else sign * float(theirs[magnitude])
    kind = {torch.Tensor: None}
    expected = [
        THEIRS._apply_image_or_video_transform(one, name, amount, interpolation=THEIRS.interpolation, fill=kind)
        for one in given
    ]
    made = OPERATIONS[name](given, sign * magnitude / STEPS)
    torch.testing.assert_close(made, torch.stack(expected), rtol=1e-5, atol=1e-5)
    assert torch.equal(made, given) == (name == "Identity")


def test_what_has_no_meaning_for_grey_levels_is_left_out():
    assert set(THEIRS._AUGMENTATION_SPACE) - set(OPERATIONS) == {"Posterize", "Solarize", "Color"}
    assert {name for name in OPERATIONS if THEIRS._AUGMENTATION_SPACE[name][1]} == set(SIGNED)


def test_each_image_has_its_own_operation_with_equal_odds():
    n = 2200
    given = images(1, size=8).expand(n, -1, -1, -1)
    made = randaugment(given, RandAugment(operations=1, magnitude=20), torch.Generator().manual_seed(0))
    kinds = [OPERATIONS[name](given[:1], sign * 20 / 30).clamp(0, 1) for name in OPERATIONS for sign in (1, -1)]
    found = [torch.isclose(made, kind, atol=1e-5).all(1).all(1).all(1).double().mean().item() for kind in kinds]
    share = {name: (found[2 * i] + found[2 * i + 1]) / (2 - (name in SIGNED)) for i, name in enumerate(OPERATIONS)}
    assert len(share) == 11
    assert all(abs(s - 1 / 11) < 0.02 for s in share.values()), share
    assert all(abs(found[2 * i] - 1 / 22) < 0.015 for i, name in enumerate(OPERATIONS) if name in SIGNED)


def test_it_draws_for_itself_and_leaves_the_draws_of_others_alone():
    plain = Augment(horizontal_flip=0.0, erase={"probability": 1.0, "area": [0.2, 0.2]})
    both = plain.model_copy(update={"rand": RandAugment()})
    ends = []
    for settings in (plain, both):
        generator = torch.Generator().manual_seed(5)
        made = [augment(images(8), settings, generator) for _ in range(2)]
        ends.append(generator.get_state())
    assert torch.equal(*ends)
    assert not torch.equal(made[0], made[1])
    again = augment(images(8), both, torch.Generator().manual_seed(5))
    assert torch.equal(again, made[0])
    assert again.min() >= 0
    assert again.max() <= 1


def test_the_input_is_left_as_it_is():
    given = images(16)
    before = given.clone()
    randaugment(given, RandAugment(operations=3, magnitude=30), torch.Generator().manual_seed(1))
    assert torch.equal(given, before)
