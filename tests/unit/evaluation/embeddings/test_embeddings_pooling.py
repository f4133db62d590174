"""Pooling: mean and max from one pass, of tokens with data only."""

import pytest
import torch

from geofm_assets.evaluation.backbones.base import Tokens
from geofm_assets.evaluation.embeddings.pooling import pool


def tokens(values, valid, modality=(0, 0, 1)):
    return Tokens(torch.tensor(values), torch.tensor(valid), modality)


def one_place(three, valid=(True, True, True)):
    """One sample, one place, three tokens of one channel."""
    return tokens([[[[[v] for v in three]]]], [[[list(valid)]]])


def test_a_window_is_the_mean_and_the_max_of_all_its_tokens():
    found = pool(one_place([1.0, 2.0, 6.0]), dense=False)
    assert found.mean.tolist() == [[3.0]]
    assert found.max.tolist() == [[6.0]]


def test_a_window_pools_over_its_places_too():
    values = torch.arange(2 * 4 * 1 * 3, dtype=torch.float32).reshape(1, 2, 4, 1, 3)
    found = pool(Tokens(values, torch.ones(1, 2, 4, 1, dtype=torch.bool), (0,)), dense=False)
    assert torch.equal(found.mean, values.reshape(1, 8, 3).mean(1))
    assert torch.equal(found.max, values.reshape(1, 8, 3).amax(1))


def test_a_place_is_pooled_within_each_modality_first():
    found = pool(one_place([1.0, 2.0, 6.0]), dense=True)
    assert found.mean.tolist() == [[[[3.75]]]]  # (1.5 + 6) / 2, not (1 + 2 + 6) / 3
    assert found.max.tolist() == [[[[6.0]]]]
    assert found.mean.shape == (1, 1, 1, 1)


@pytest.mark.parametrize("dense", [False, True])
def test_tokens_without_data_do_not_count_even_if_they_are_not_numbers(dense):
    found = pool(one_place([1.0, 3.0, float("nan")], (True, True, False)), dense=dense)
    assert found.mean.flatten().tolist() == [2.0]
    assert found.max.flatten().tolist() == [3.0]


@pytest.mark.parametrize("dense", [False, True])
def test_where_nothing_has_data_there_are_zeros_and_it_is_said(dense):
    found = pool(one_place([1.0, 2.0, 3.0], (False, False, False)), dense=dense)
    assert found.mean.flatten().tolist() == found.max.flatten().tolist() == [0.0]
    assert not found.found.any()


def test_negative_tokens_have_a_negative_max():
    found = pool(one_place([-5.0, -2.0, -9.0], (True, True, False)), dense=False)
    assert found.max.tolist() == [[-2.0]]


def test_a_sample_does_not_depend_on_its_neighbours():
    torch.manual_seed(0)
    values = torch.randn(5, 2, 2, 3, 4)
    valid = torch.rand(5, 2, 2, 3) > 0.4
    for dense in (False, True):
        whole = pool(Tokens(values, valid, (0, 0, 1)), dense=dense)
        alone = pool(Tokens(values[2:3], valid[2:3], (0, 0, 1)), dense=dense)
        assert torch.equal(whole.mean[2:3], alone.mean)
        assert torch.equal(whole.max[2:3], alone.max)
