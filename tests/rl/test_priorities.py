"""The prioritised sampler against its distribution, and its weights by hand."""

import numpy as np
import pytest
import torch
from scipy import stats

from plasticity.rl.priorities import Priorities


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def test_draws_follow_the_priorities():
    priorities = Priorities(6)
    priorities.known, priorities.values[:] = 6, [1, 2, 3, 4, 0, 10]
    draws = stream()
    index = np.concatenate([priorities.draw(6, 1, draws)[0].numpy() for _ in range(20_000)])
    counts = np.bincount(index, minlength=6)
    assert counts[4] == 0
    expected = np.array([1, 2, 3, 4, 10]) / 20 * 20_000
    assert stats.chisquare(counts[[0, 1, 2, 3, 5]], expected).pvalue > 0.001


def test_each_stratum_gives_one():
    priorities = Priorities(6)
    priorities.known, priorities.values[:] = 6, [1, 2, 3, 4, 0, 10]
    for seed in range(20):  # strata of a probability of 1 / 10 each: sums of 2, 4, ..., 20
        index = priorities.draw(6, 10, stream(seed))[0].tolist()
        assert index[0] in (0, 1) and index[1] in (1, 2) and index[2:5] == [2, 3, 3] and index[5:] == [5] * 5


def test_weights_undo_half_of_the_preference():
    priorities = Priorities(3)
    priorities.known, priorities.values[:] = 3, [1, 4, 16]
    index, weights = priorities.draw(3, 1000, stream())
    by_hand = torch.tensor([1.0, 0.5, 0.25])[index]
    assert set(index.tolist()) == {0, 1, 2} and torch.allclose(weights, by_hand)
    index, weights = priorities.draw(3, 1000, stream(), beta=1.0)
    assert torch.allclose(weights, torch.tensor([1.0, 1 / 4, 1 / 16])[index])


def test_a_new_transition_has_the_largest_priority_so_far():
    priorities = Priorities(5)
    priorities.draw(2, 4, stream())
    priorities.set(torch.tensor([0, 1]), torch.tensor([9.0, 0.04]))
    assert priorities.values[:2].tolist() == pytest.approx([3, 0.2]) and priorities.largest == pytest.approx(3)
    priorities.draw(4, 4, stream())
    assert priorities.values.tolist() == pytest.approx([3, 0.2, 3, 3, 0])
    priorities.set(torch.tensor([3]), torch.tensor([1.0]))
    assert priorities.largest == pytest.approx(3)


def test_only_what_may_be_drawn_is_drawn():
    priorities = Priorities(100)
    index, weights = priorities.draw(7, 2000, stream())
    assert set(index.tolist()) == set(range(7)) and (weights == 1).all()


def test_a_state_is_taken_up():
    one, two = Priorities(9), Priorities(9)
    one.draw(5, 3, stream())
    one.set(torch.tensor([1, 2]), torch.tensor([4.0, 0.5]))
    two.load_state_dict(one.state_dict())
    for priorities in (one, two):
        priorities.draw(8, 1, stream())
    assert (one.values == two.values).all() and one.largest == two.largest and one.known == two.known
