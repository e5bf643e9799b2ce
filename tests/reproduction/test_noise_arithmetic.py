"""Do the ways to compute a step leave the process as it was, and round as they say?"""

import pytest
import torch

from expunge.reproduction.implicit_noise.arithmetic import arithmetics, round_by_coin, threads
from expunge.training.randomness import generator
from expunge.training.state import TrainingState


def _settings() -> tuple[object, ...]:
    return torch.get_num_threads(), torch.get_float32_matmul_precision(), torch.backends.mkldnn.enabled


@pytest.mark.parametrize("name", sorted(arithmetics(True, 0)))
def test_what_a_way_sets_is_put_back_even_after_an_error(name: str) -> None:
    before = _settings()
    with pytest.raises(ZeroDivisionError), arithmetics(True, 0)[name].setting():
        raise ZeroDivisionError
    assert _settings() == before


def test_the_settings_are_in_force_meanwhile() -> None:
    ways = arithmetics(False, 0)
    with threads(1):
        with ways["two threads"].setting():
            assert torch.get_num_threads() == 2
        with ways["bfloat16 products"].setting():
            assert torch.get_float32_matmul_precision() == "medium"
        with ways["without oneDNN"].setting():
            assert not torch.backends.mkldnn.enabled


def test_channels_last_is_there_for_convolutions_only() -> None:
    assert "channels last" in arithmetics(True, 0)
    assert "channels last" not in arithmetics(False, 0)


def _coin(values: torch.Tensor, seed: int) -> torch.Tensor:
    state = TrainingState({"w": values.clone()}, {}, {})
    round_by_coin(state, generator(seed, "rounding"))
    return state.params["w"]


def test_a_coin_gives_one_of_the_two_neighbours_and_keeps_the_mean() -> None:
    low, high = 1.0, 1.0 + 2.0**-7  # neighbours in bfloat16
    for sign in (1.0, -1.0):
        rounded = _coin(torch.full((200_000,), sign * (low + 0.25 * (high - low))), seed=1)
        assert set(rounded.tolist()) == {sign * low, sign * high}
        share = float((rounded == sign * high).double().mean())
        assert share == pytest.approx(0.25, abs=0.005)  # five standard errors


def test_a_coin_leaves_what_needs_no_rounding() -> None:
    exact = torch.randn(1000, generator=generator(3, "values")).to(torch.bfloat16).float()
    assert torch.equal(_coin(exact, seed=2), exact)
