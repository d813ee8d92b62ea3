"""A few steps that are not kept: as they are in training, timed, and at ever larger learning rates."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

import convatlas as ca
from convatlas.data.batches import Step
from convatlas.errors import InputError
from convatlas.training import dry_run as dry
from convatlas.training.optim import learning_rate
from convatlas.training.progress import Display
from convatlas.training.range_test import draw, judged, sparkline, until_explosion
from convatlas.training.recipe import Recipe
from convatlas.training.trial import losses, trying

QUIET = Display(quiet=True)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_steps_that_are_not_kept_have_the_losses_of_the_training(tmp_path: Path, accumulate: int) -> None:
    recipe = Recipe(model="lenet", data="digits", epochs=1, batch_size=256, accumulate=accumulate, clip=1.0)
    run = ca.train(recipe, output=tmp_path / "run", quiet=True)
    with trying(recipe, QUIET) as learning:
        steps = len(learning.batches)
        whole = learning.job.recipe
        going = losses(learning, lambda step: learning_rate(whole, step, steps_per_epoch=steps))
        mean = sum(next(going) for _ in range(steps)) / steps  # 1,280 images in steps of 256
    assert mean == pytest.approx(run.metrics[0]["train_loss"], rel=1e-6)


def test_a_dry_run_is_the_recipe_in_full_and_remarks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    now = iter(range(10**6))
    monkeypatch.setattr(dry.time, "perf_counter", lambda: next(now) / 2)  # each step takes half a second
    planned = ca.training.dry_run.dry_run(Recipe(epochs=3, batch_size=256), quiet=True)
    assert list(tmp_path.iterdir()) == []
    assert (planned.parameters, planned.steps) == (61_706, 5)
    assert planned.images == {"train": 1280, "val": 157, "test": 360}
    assert (planned.epoch_seconds, planned.timed, planned.timed_images) == (2.5, 6, 256)
    # AdamW keeps two numbers a weight, beside the weight and its gradient; and a step keeps the images at least.
    assert 4 * 4 * 61_706 + 256 * 28 * 28 * 4 < planned.memory < planned.free
    (tmp_path / "again.yaml").write_text(planned.to_yaml())
    assert Recipe.read(tmp_path / "again.yaml") == planned.recipe
    assert "# time: about 2.5 s an epoch of 5 steps, so 7.5 s for 3 epochs" in planned.to_yaml()
    assert yaml.safe_load(planned.to_yaml())["mean"] == list(planned.recipe.mean or ())


def test_a_step_that_takes_long_is_timed_with_fewer_images_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def loss(_: object, step: Step, rate: float) -> float:
        made.append(step.images)
        return rate

    monkeypatch.setattr(dry, "loss", loss)
    monkeypatch.setattr(dry.time, "perf_counter", lambda: 0.7 * sum(made))  # seconds an image
    planned = dry.dry_run(Recipe(epochs=3, batch_size=256), quiet=True)
    assert made == [2, 2, 4, 8]  # 16 would take 11.2 s
    assert (planned.timed, planned.timed_images) == (1, 8)
    assert planned.epoch_seconds == pytest.approx(0.7 * 1280)
    assert "an estimate from 1 step here of 8 images alone, in proportion and without reading any" in planned.to_yaml()


def curve(rates: np.ndarray) -> list[float]:
    """A loss that falls from 2.3 around a rate of 0.01, is least at 0.1 and then explodes."""
    place = np.log10(rates)
    fall = 2.0 / (1 + np.exp(-8 * (place + 2)))
    return (2.3 - fall + np.exp(9 * (place + 0.6)) + 0.1 * (place + 1) ** 2 * (place > -1.5)).tolist()


RATES = np.geomspace(1e-6, 10, 200)


def test_the_steepest_descent_and_the_least_loss_are_found_where_they_are() -> None:
    seen, exploded = until_explosion(curve(RATES), 200)
    assert exploded
    found = judged(Recipe(), RATES.tolist(), seen, exploded=exploded)
    truth = np.array(curve(RATES[: len(seen)]))
    assert found.steepest == pytest.approx(0.01, rel=0.2)
    assert found.tenth == pytest.approx(RATES[truth.argmin()] / 10, rel=0.3)
    assert found.losses[-1] < 30 * min(found.losses)  # the test did not go on for long after the explosion
    assert len(found.rates) == len(found.losses) == len(found.smoothed) < 200


def test_noise_of_single_batches_moves_the_rates_little() -> None:
    noise = np.random.default_rng(0).normal(0, 0.15, 200)
    seen, exploded = until_explosion((np.array(curve(RATES)) + noise).tolist(), 200)
    found = judged(Recipe(), RATES.tolist(), seen, exploded=exploded)
    assert found.steepest is not None
    assert abs(math.log10(found.steepest) + 2) < 0.25


def test_a_descent_from_where_the_loss_had_risen_to_is_none() -> None:
    place = np.log10(RATES)
    bump = 3 * np.exp(-40 * (place + 0.5) ** 2)  # steeper than the fall
    found = judged(Recipe(), RATES.tolist(), (3 - 1 / (1 + np.exp(-4 * (place + 3))) + bump).tolist(), exploded=False)
    assert found.steepest == pytest.approx(1e-3, rel=0.25)


def test_where_the_loss_does_not_fall_no_rate_is_suggested() -> None:
    found = judged(Recipe(), RATES.tolist(), [2.3] * 200, exploded=False)
    assert (found.steepest, found.tenth) == (None, None)
    assert draw(found).axes
    assert set(sparkline(found)[0]) <= set("▁▂▃▄▅▆▇█")


def test_a_loss_that_is_no_number_ends_the_test() -> None:
    assert until_explosion([2.0, 1.0, math.nan, 1.0], 4) == ([2.0, 1.0], True)
    assert until_explosion(iter([2.0, 1.0, 3.0]), 2) == ([2.0, 1.0], False)


def test_the_line_for_a_terminal_has_ten_columns_for_ten_times() -> None:
    found = judged(Recipe(), RATES.tolist(), curve(RATES)[:150], exploded=True)
    bars, scale = sparkline(found)
    assert len(bars) == round(10 * math.log10(found.rates[-1] / found.rates[0])) + 1
    assert scale.index("0.001") == 30
    assert bars[0] in "▇█"
    assert "▁" in bars[40:60]


def test_a_learning_rate_is_found_without_a_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = Recipe(batch_size=64, changes={"activation": "relu"})
    found = ca.find_learning_rate(recipe, steps=60, quiet=True)
    assert list(tmp_path.iterdir()) == []
    assert found.steepest is not None
    assert 1e-3 < found.steepest < 0.3  # AdamW on LeNet
    assert found.smoothed[0] == pytest.approx(math.log(10), abs=0.4)
    # With a batch size that the rate is for, the rate is of that batch.
    for_another = ca.find_learning_rate(replace(recipe, lr_batch=32), lowest=5e-7, highest=5, steps=60, quiet=True)
    assert for_another.losses == pytest.approx(found.losses)


@pytest.mark.parametrize(
    ("lowest", "highest", "steps", "reason"),
    [
        (1.0, 0.1, 100, "learning rates go from above 0 to a larger one, and not from 1 to 0.1"),
        (0.0, 0.1, 100, "from above 0"),
        (0.1, math.inf, 100, "from above 0"),
        (0.1, 1.0, 3, "a range test takes 20 steps or more, and not 3"),
    ],
)
def test_a_range_that_is_none_is_refused(lowest: float, highest: float, steps: int, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        ca.find_learning_rate(Recipe(), lowest=lowest, highest=highest, steps=steps, quiet=True)
