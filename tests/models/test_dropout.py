"""Compare our dropout with the Bernoulli distribution and with torch's scaling."""

import pytest
import torch
from scipy import stats

from tgs_salt.models.dropout import Dropout


@pytest.mark.parametrize("p", [0.05, 0.5])
def test_each_element_is_dropped_independently_with_probability_p(p: float) -> None:
    torch.manual_seed(0)
    layer = Dropout(p)
    dropped = torch.stack([layer(torch.ones(400)) == 0 for _ in range(500)])
    count = dropped.numel()
    assert stats.binomtest(int(dropped.sum()), count, p).pvalue > 1e-3
    # The first and the last position have the same probability as the others.
    for position in (0, 399):
        assert stats.binomtest(int(dropped[:, position].sum()), 500, p).pvalue > 1e-3
    for distance in (1, 2):
        both = int((dropped[:, distance:] & dropped[:, :-distance]).sum())
        assert stats.binomtest(both, 500 * (400 - distance), p * p).pvalue > 1e-3


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_kept_elements_and_their_gradients_are_scaled(memory_format: torch.memory_format) -> None:
    features = torch.randn(3, 4, 5, 6).contiguous(memory_format=memory_format).requires_grad_()
    torch.manual_seed(1)
    output = Dropout(0.3)(features)
    kept = output != 0
    assert 0 < kept.sum() < kept.numel()
    torch.testing.assert_close(output[kept], features[kept] / 0.7)
    # The gradient may have another memory format than the features.
    grad_output = torch.randn(3, 4, 5, 6)
    output.backward(grad_output)
    torch.testing.assert_close(features.grad, grad_output * kept / 0.7)


def test_strided_views_are_supported() -> None:
    features = torch.ones(8, 8)[::2, ::2]
    output = Dropout(0.5)(features)
    assert set(output.unique().tolist()) <= {0.0, 2.0}


def test_dropout_depends_on_the_seed_and_is_off_in_eval_mode() -> None:
    layer, features = Dropout(0.2), torch.randn(2, 3, 16, 16)
    torch.manual_seed(2)
    output = layer(features)
    torch.manual_seed(2)
    assert torch.equal(layer(features), output)
    assert not torch.equal(layer(features), output)
    assert layer.eval()(features) is features
