"""Stochastic depth: the draws of training, their mean in evaluation, and the linear rule."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from convatlas.layers.depth import StochasticDepth, linear_rule


def triple(x: Tensor) -> Tensor:
    return 3 * x


def test_evaluation_is_the_mean_of_training() -> None:
    layer, x = StochasticDepth(0.7), torch.tensor([1.0, -2.0])
    torch.manual_seed(0)
    drawn = [layer(triple, x) for _ in range(2000)]
    kept = [branch for branch in drawn if branch is not None]
    assert all(torch.equal(branch, 3 * x) for branch in kept)
    assert len(kept) / len(drawn) == pytest.approx(0.7, abs=5 * (0.7 * 0.3 / 2000) ** 0.5)
    torch.testing.assert_close(layer.eval()(triple, x), 0.7 * 3 * x)


@pytest.mark.parametrize(("survival", "answers"), [(1.0, True), (0.0, False)])
def test_a_certain_branch_is_always_there_and_an_impossible_one_never(survival: float, answers: bool) -> None:
    layer = StochasticDepth(survival)
    assert all((layer(triple, torch.ones(1)) is not None) == answers for _ in range(50))


def test_in_a_compiled_graph_the_branch_is_multiplied_by_each_draw() -> None:
    torch._dynamo.reset()
    layer, x = StochasticDepth(0.7), torch.tensor([1.0, -2.0])
    torch.manual_seed(0)

    @torch.compile(fullgraph=True, backend="eager")
    def compiled(x: Tensor) -> Tensor | None:
        return layer(triple, x)  # type: ignore[no-any-return]

    drawn = [compiled(x) for _ in range(1000)]
    kept = sum(torch.equal(branch, 3 * x) for branch in drawn if branch is not None)
    dropped = sum(torch.equal(branch, 0 * x) for branch in drawn if branch is not None)
    assert kept + dropped == 1000
    assert kept / 1000 == pytest.approx(0.7, abs=5 * (0.7 * 0.3 / 1000) ** 0.5)


def test_a_branch_that_is_dropped_is_not_computed() -> None:
    def never(x: Tensor) -> Tensor:
        raise AssertionError(x)

    assert StochasticDepth(0.0)(never, torch.ones(1)) is None


@pytest.mark.parametrize(("blocks", "last"), [(54, 0.5), (9, 0.8), (1, 0.5)])
def test_the_linear_rule_goes_from_nearly_1_to_the_last_in_equal_steps(blocks: int, last: float) -> None:
    rule = linear_rule(blocks, last)
    assert len(rule) == blocks
    assert rule[0] == pytest.approx(1 - (1 - last) / blocks)
    assert rule[-1] == pytest.approx(last)
    steps = [before - after for before, after in pairwise(rule)]
    assert steps == pytest.approx([(1 - last) / blocks] * (blocks - 1))


def test_of_the_54_blocks_of_resnet110_40_are_there_on_average() -> None:
    """Sec. 3: (3L − 1) / 4 blocks for p_L = 0.5, which is about 40 for L = 54."""
    assert sum(linear_rule(54, 0.5)) == pytest.approx((3 * 54 - 1) / 4) == 40.25
