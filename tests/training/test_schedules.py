from math import cos, pi

import pytest

from vol2vol.training.schedules import rate
from vol2vol.training.settings import Schedule


def rates(epochs, **schedule):
    return [rate(Schedule(**schedule), epoch, epochs) for epoch in range(epochs)]


def test_constant():
    assert rates(7, name="constant") == [1.0] * 7


def test_linear_is_constant_for_half_and_would_reach_zero_one_epoch_after_the_end():
    assert rates(8, name="linear") == [1, 1, 1, 1, 1, 0.75, 0.5, 0.25]
    assert rates(200, name="linear")[:101] == [1.0] * 101
    assert rates(200, name="linear")[150] == 0.5
    assert rates(200, name="linear")[199] == 0.01
    assert rates(1, name="linear") == [1.0]


def test_step():
    assert rates(6, name="step", period=2, factor=0.1) == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_cosine_falls_once():
    assert rates(4, name="cosine") == pytest.approx([1, (1 + 2**-0.5) / 2, 0.5, (1 - 2**-0.5) / 2])
    assert rates(100, name="cosine") == sorted(rates(100, name="cosine"), reverse=True)


def test_cosine_restarts_five_times_in_a_hundred_epochs():
    factors = rates(100, name="cosine-restarts")
    assert [e for e, r in enumerate(factors) if r == 1.0] == [0, 20, 40, 60, 80]
    assert factors[10] == factors[90] == pytest.approx(0.5)
    assert factors[19] == pytest.approx((1 + cos(pi * 19 / 20)) / 2)
    assert 0 < min(factors) < 0.01


def test_plateau_halves_when_nothing_improved_for_longer_than_its_patience():
    plateau = Schedule(name="plateau", patience=2, factor=0.5)

    def after(*history):
        return rate(plateau, len(history), 100, history)

    assert after() == 1
    assert after(3, 2, 1) == 1
    assert after(1, 1, 1) == 1  # two epochs without improvement
    assert after(1, 1, 1, 1) == 0.5  # three epochs
    assert after(1, 1, 1, 1, 1, 1) == 0.5
    assert after(1, 1, 1, 1, 1, 1, 1) == 0.25
    assert after(1, 2, 2, 0.5, 2, 2) == 1  # an improvement in between
    assert after(1, 0.99999, 0.99998, 0.99997) == 0.5  # too small to count


@pytest.mark.parametrize("name", ["constant", "linear", "step", "plateau", "cosine", "cosine-restarts"])
def test_no_epoch_is_ever_trained_at_rate_zero(name):
    assert all(0 < r <= 1 for epochs in (1, 2, 3, 20, 21, 101) for r in rates(epochs, name=name))


def test_a_typo_is_refused():
    with pytest.raises(ValueError, match="cosin"):
        Schedule(name="cosin")
