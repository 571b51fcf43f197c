"""Dropout by gaps against the distribution that it claims, and against torch's own scaling."""

import pytest
import torch
from scipy import stats

from tgs_salt.models.dropout import Dropout


@pytest.mark.parametrize("p", [0.05, 0.5])
def test_each_element_is_dropped_with_probability_p_whatever_its_neighbour_does(p: float) -> None:
    torch.manual_seed(0)
    layer = Dropout(p)
    dropped = torch.stack([layer(torch.ones(400)) == 0 for _ in range(500)])
    count = dropped.numel()
    assert stats.binomtest(int(dropped.sum()), count, p).pvalue > 1e-3
    # The first and the last place are no different from those between.
    for place in (0, 399):
        assert stats.binomtest(int(dropped[:, place].sum()), 500, p).pvalue > 1e-3
    for distance in (1, 2):
        both = int((dropped[:, distance:] & dropped[:, :-distance]).sum())
        assert stats.binomtest(both, 500 * (400 - distance), p * p).pvalue > 1e-3


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_what_is_kept_is_scaled_and_gradients_follow(memory_format: torch.memory_format) -> None:
    features = torch.randn(3, 4, 5, 6).contiguous(memory_format=memory_format).requires_grad_()
    torch.manual_seed(1)
    given = Dropout(0.3)(features)
    kept = given != 0
    assert 0 < kept.sum() < kept.numel()
    torch.testing.assert_close(given[kept], features[kept] / 0.7)
    # A gradient comes in whatever memory order the layer above has it.
    weights = torch.randn(3, 4, 5, 6)
    given.backward(weights)
    torch.testing.assert_close(features.grad, weights * kept / 0.7)


def test_a_strided_view_is_dropped_from_as_well() -> None:
    features = torch.ones(8, 8)[::2, ::2]
    given = Dropout(0.5)(features)
    assert set(given.unique().tolist()) <= {0.0, 2.0}


def test_the_seed_decides_and_prediction_drops_nothing() -> None:
    layer, features = Dropout(0.2), torch.randn(2, 3, 16, 16)
    torch.manual_seed(2)
    one = layer(features)
    torch.manual_seed(2)
    assert torch.equal(layer(features), one)
    assert not torch.equal(layer(features), one)
    assert layer.eval()(features) is features
