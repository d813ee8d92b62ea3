"""Runs with augmentation that mixes images, or needs something of the training images."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import convatlas as ca
from convatlas import Recipe
from convatlas.errors import InputError


def test_a_step_in_parts_is_augmented_mixed_and_weighted_as_a_whole_one(shapes: Path, tmp_path: Path) -> None:
    for number in range(8):
        (shapes / "square" / f"square{number}.png").unlink()
    recipe = Recipe(
        model="lenet", in_channels=3, data=str(shapes), epochs=1, batch_size=32, accumulate=1, resized_crop=0.3,
        policy="rand", colour=0.2, lighting=0.1, erase=2, erasing=0.5, mixup=0.2, cutmix=1.0, class_weights="balanced",
        precision="32",
    )  # fmt: skip
    one = ca.train(recipe, output=tmp_path / "one", quiet=True)
    three = ca.train(replace(recipe, accumulate=3), output=tmp_path / "three", quiet=True)
    assert three.metrics[0]["train_loss"] == pytest.approx(one.metrics[0]["train_loss"], rel=1e-5)
    weights = [load_file(run.directory / "model.safetensors") for run in (one, three)]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=1e-4, atol=1e-5)


def test_lighting_of_grey_images_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="grey images have none; leave out --lighting"):
        ca.train(Recipe(model="lenet", data="digits", lighting=0.1, epochs=1), output=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()
