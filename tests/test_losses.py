import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import structural_similarity

from vol2vol import losses
from vol2vol.errors import BadInput

torch.set_num_threads(1)


def pair(shape, seed=0, low=-1.0, high=1.0):
    draw = np.random.default_rng(seed)
    x = draw.uniform(low, high, shape)
    return x, np.clip(0.7 * x + 0.3 * draw.uniform(low, high, shape), low, high)


def tensors(*arrays, dtype=torch.float32):
    return [torch.from_numpy(a).to(dtype)[None, None] for a in arrays]


@pytest.mark.parametrize("shape", [(11, 11), (40, 33), (13, 11, 17)])
@pytest.mark.parametrize(("low", "high"), [(-1, 1), (0, 1), (0, 255)])
def test_ssim_agrees_with_scikit_image(shape, low, high):
    x, y = pair(shape, low=low, high=high)
    _, expected = structural_similarity(
        x, y, data_range=high - low, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    expected = expected[(slice(5, -5),) * len(shape)]
    similarity = losses.ssim_map(*tensors(x, y), data_range=high - low)[0, 0].numpy()
    assert similarity.shape == expected.shape
    assert np.abs(similarity - expected).max() < 1e-5
    assert abs(losses.ssim(*tensors(x, y), data_range=high - low).item() - expected.mean()) < 1e-5


def test_ssim_averages_batch_and_channels():
    x, y = (torch.rand(2, 3, 15, 16) for _ in range(2))
    each = [
        losses.ssim(a[None, None], b[None, None], data_range=1)
        for a, b in zip(x.flatten(0, 1), y.flatten(0, 1), strict=True)
    ]
    torch.testing.assert_close(losses.ssim(x, y, data_range=1), torch.stack(each).mean())


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([(11, 12), (11, 11, 12)]))
def test_ssim_is_symmetric_bounded_and_one_for_equal_patches(seed, shape):
    x, y = tensors(*pair(shape, seed))
    value = losses.ssim(x, y, data_range=2)
    torch.testing.assert_close(value, losses.ssim(y, x, data_range=2))
    assert -1 <= value < 1
    torch.testing.assert_close(losses.ssim(x, x, data_range=2), torch.tensor(1.0))


def test_ssim_has_the_gradient_of_its_value():
    x, y = tensors(*pair((12, 11)), dtype=torch.float64)
    y.requires_grad_()
    assert torch.autograd.gradcheck(lambda t: losses.ssim(x, t, data_range=2), y)


def test_losses_are_float32_under_autocast():
    x, y = (t.bfloat16() for t in tensors(*pair((20, 20))))
    with torch.autocast("cpu", torch.bfloat16):
        values = [losses.ssim(x, y, data_range=2), losses.l1(x, y), losses.adversarial(x, real=True)]
    assert [v.dtype for v in values] == [torch.float32] * 3
    torch.testing.assert_close(values[0], losses.ssim(x.float(), y.float(), data_range=2), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("a", "b", "data_range", "message"),
    [
        ((1, 1, 10, 40), (1, 1, 10, 40), 1, "smaller than the 11 voxels"),
        ((1, 1, 12, 12), (1, 1, 12, 13), 1, "different|shapes"),
        ((12, 12), (12, 12), 1, "not 2 axes"),
        ((1, 1, 12, 12), (1, 1, 12, 12), 0, "data_range is 0"),
        ((1, 1, 12, 12), (1, 1, 12, 12), math.nan, "data_range is nan"),
    ],
)
def test_patches_that_cannot_be_compared_are_refused(a, b, data_range, message):
    with pytest.raises(BadInput, match=message):
        losses.ssim(torch.zeros(a), torch.zeros(b), data_range=data_range)


SCORES = torch.tensor([[-2.0, 0.0, 0.5, 3.0]])


@pytest.mark.parametrize(
    ("kind", "real", "expected"),
    [
        ("lsgan", True, [9, 1, 0.25, 4]),
        ("lsgan", False, [4, 0, 0.25, 9]),
        ("vanilla", True, [-math.log(1 / (1 + math.exp(-s))) for s in (-2, 0, 0.5, 3)]),
        ("vanilla", False, [-math.log(1 - 1 / (1 + math.exp(-s))) for s in (-2, 0, 0.5, 3)]),
        ("hinge", True, [3, 1, 0.5, 0]),
        ("hinge", False, [0, 1, 1.5, 4]),
    ],
)
def test_adversarial_losses_are_their_equations(kind, real, expected):
    loss = losses.adversarial(SCORES, real=real, kind=kind)
    assert loss.item() == pytest.approx(np.mean(expected), rel=1e-6)
    if kind != "hinge":
        assert losses.adversarial(SCORES, real=real, kind=kind, for_generator=True) == loss


def test_the_hinge_generator_raises_the_score():
    assert losses.adversarial(SCORES, real=True, kind="hinge", for_generator=True).item() == -0.375


@pytest.mark.parametrize("kind", losses.ADVERSARIAL)
def test_extreme_scores_stay_finite(kind):
    scores = torch.tensor([-1e4, 1e4])
    for real in (True, False):
        assert torch.isfinite(losses.adversarial(scores, real=real, kind=kind))


def test_an_unknown_adversarial_loss_is_refused():
    with pytest.raises(BadInput, match="'wgan' is unknown: use one of lsgan, vanilla, hinge"):
        losses.adversarial(SCORES, real=True, kind="wgan")


def test_l1_is_the_mean_absolute_difference():
    assert losses.l1(torch.tensor([1.0, -2.0]), torch.tensor([0.0, 2.0])).item() == 2.5


def test_overlap_losses_are_their_equations_by_hand():
    p = torch.tensor([0.5, 1.0, 0.0, 0.25]).reshape(1, 1, 2, 2)
    t = torch.tensor([1.0, 1.0, 0.0, 0.0]).reshape(1, 1, 2, 2)
    assert losses.dice(p, t).item() == pytest.approx(1 - 2 * 1.5 / (1.3125 + 2), abs=1e-6)
    assert losses.mse(p, t).item() == pytest.approx((0.25 + 0.0625) / 4)
    assert losses.bce(p, t).item() == pytest.approx(-(math.log(0.5) + math.log(0.75)) / 4, abs=1e-6)
    assert losses.bce_dice(p, t).item() == pytest.approx((losses.bce(p, t) + losses.dice(p, t)).item())
    assert losses.OVERLAP["bce+dice"] is losses.bce_dice


def test_overlap_losses_agree_with_torch_and_stay_finite():
    p, t = torch.rand(2, 1, 5, 6), (torch.rand(2, 1, 5, 6) > 0.5).float()
    torch.testing.assert_close(losses.bce(p, t), torch.nn.functional.binary_cross_entropy(p, t))
    sure = torch.tensor([0.0, 1.0], requires_grad=True)
    worst = losses.bce(sure.reshape(1, 1, 2), torch.tensor([1.0, 0.0]).reshape(1, 1, 2))
    assert torch.isfinite(worst)
    nothing = torch.zeros(1, 1, 4)
    assert losses.dice(nothing, nothing).item() == 0
    assert losses.dice(nothing, torch.ones(1, 1, 4)).item() == pytest.approx(1)


def test_dice_is_a_mean_over_channels_and_pools_the_batch():
    p, t = torch.rand(3, 2, 4, 4), (torch.rand(3, 2, 4, 4) > 0.5).float()
    apart = torch.stack([losses.dice(p[:, c : c + 1], t[:, c : c + 1]) for c in (0, 1)]).mean()
    torch.testing.assert_close(losses.dice(p, t), apart)
    torch.testing.assert_close(
        losses.dice(p[:, :1], t[:, :1]), losses.dice(p[:, :1].reshape(1, 1, -1), t[:, :1].reshape(1, 1, -1))
    )


@pytest.mark.parametrize("shape", [(2, 3, 11, 13), (1, 1, 12, 11, 17)])
@pytest.mark.parametrize("name", losses.PAIRED)
def test_a_supervised_loss_is_weighted_and_zero_where_output_and_truth_are_equal(name, shape):
    torch.manual_seed(0)
    x, y = torch.rand(shape) * 2 - 1, torch.rand(shape) * 2 - 1
    [alone] = losses.paired(x, y, {name: 1.0}).values()
    both = losses.paired(x, y, {name: 0.5, "l1": 2.0})
    assert alone.ndim == 0
    assert alone > 0.05
    torch.testing.assert_close(both["l1"], 2 * losses.l1(x, y) if name != "l1" else 2 * alone)
    if name != "l1":
        torch.testing.assert_close(both[name], alone / 2)
    assert losses.paired(x, x.clone(), {name: 1.0})[name].abs() < 1e-6
