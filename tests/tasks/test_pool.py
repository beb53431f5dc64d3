import pytest
import torch

from vol2vol.tasks import ImagePool


def image(value):
    return torch.full((1, 1, 2, 2), float(value))


def test_size_zero_returns_what_it_gets():
    batch = torch.randn(3, 1, 2, 2)
    assert ImagePool(0)(batch) is batch


def test_until_full_it_keeps_and_returns_the_new_ones():
    pool = ImagePool(4)
    assert [float(pool(image(i))[0, 0, 0, 0]) for i in range(4)] == [0, 1, 2, 3]


def test_once_full_about_half_of_the_answers_are_old_and_each_stored_image_leaves_once():
    pool = ImagePool(10, seed=1)
    answers = [float(pool(image(i)).mean()) for i in range(1000)]
    old = [answer for i, answer in enumerate(answers) if answer != i]
    assert 0.45 < len(old) / 990 < 0.55
    assert len(set(old)) == len(old)  # who was drawn was replaced
    assert all(answer <= i for i, answer in enumerate(answers))


def test_every_place_is_drawn():
    pool = ImagePool(5, seed=2)
    for i in range(200):
        pool(image(i))
    assert min(float(x.mean()) for x in pool._images) > 100


def test_a_batch_is_exchanged_image_by_image_and_loses_its_gradient():
    pool = ImagePool(2, seed=3)
    batch = torch.arange(4.0).reshape(4, 1, 1, 1).requires_grad_()
    answer = pool(batch)
    assert answer.shape == batch.shape
    assert not answer.requires_grad
    assert answer[:2].flatten().tolist() == [0, 1]
    with torch.no_grad():
        batch += 100  # what is stored is a copy
    assert all(float(x) < 100 for x in pool._images)


@pytest.mark.parametrize("filled", [0, 2, 30])
def test_state_continues_the_same_answers(filled):
    def play(pool, start):
        return [float(pool(image(i)).mean()) for i in range(start, start + 50)]

    pool, other = ImagePool(5, seed=4), ImagePool(5, seed=99)
    for i in range(filled):
        pool(image(i))
    other.load_state_dict(pool.state_dict())
    assert play(pool, 100) == play(other, 100)
