"""Trained networks learn on: what is frozen stays, what is new learns, and what was killed goes on."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from trained import equal, go, weights

import convatlas as ca
from conftest import Said
from convatlas import Recipe
from convatlas.errors import InputError
from convatlas.models import build
from convatlas.training.finetuning import finetune
from convatlas.training.freezing import frozen_stages
from convatlas.training.job import asked_otherwise
from convatlas.training.run import Run


@pytest.fixture
def tuning(shapes: Path, shared_weights: Path) -> Recipe:
    """A ResNet-20 that was trained on CIFAR-10 is to tell bars and squares."""
    path = str(shared_weights / "cifar10_resnet20.safetensors")
    return Recipe(model="resnet20", data=str(shapes), weights=path, size=16, epochs=2, batch_size=16, lr=0.01)


def changed(run: Run, recipe: Recipe) -> set[str]:
    """The stages of which any number is not what it was."""
    assert recipe.weights is not None
    before = ca.load_weights(ca.create_model("resnet20", num_classes=3), recipe.weights, new_head=True).state_dict()
    now = weights(run)
    same = {key for key, value in before.items() if torch.equal(value, now[key])}
    return {key.partition(".")[0] for key in before if key not in same and "num_batches" not in key}


def test_what_is_frozen_does_not_change_by_a_bit_averages_included(tuning: Recipe, tmp_path: Path) -> None:
    assert changed(go(replace(tuning, freeze="conv3_x"), tmp_path / "run"), tuning) == {"conv4_x", "fc"}


def test_a_probe_changes_the_classifier_alone(tuning: Recipe, tmp_path: Path) -> None:
    probed = finetune(tuning, output=tmp_path / "run", probe=True, quiet=True)
    assert changed(probed.finetuned, tuning) == {"fc"}
    assert probed.scratch is None


def test_stages_thaw_one_by_one_from_the_top() -> None:
    recipe = Recipe(model="resnet20", freeze="conv3_x", thaw=2)
    found = [frozen_stages(build("resnet20"), recipe, epoch=epoch) for epoch in range(8)]
    assert found == [("conv1", "conv2_x", "conv3_x")] * 2 + [("conv1", "conv2_x")] * 2 + [("conv1",)] * 2 + [()] * 2


def test_a_stage_that_has_thawed_has_learned(tuning: Recipe, tmp_path: Path) -> None:
    run = go(replace(tuning, freeze="conv3_x", thaw=1), tmp_path / "run")
    assert changed(run, tuning) == {"conv3_x", "conv4_x", "fc"}


def test_images_are_prepared_as_in_the_run_that_the_weights_are_of(shapes: Path, tmp_path: Path) -> None:
    first = go(Recipe(model="plain20", data=str(shapes), size=12, in_channels=1, epochs=1), tmp_path / "first")
    second = Recipe(model="plain20", data=str(shapes), weights=str(first.directory), epochs=1)
    recipe = Recipe.read(go(second, tmp_path / "second").directory / "recipe.yaml")
    before = Recipe.read(first.directory / "recipe.yaml")
    for name in ("size", "in_channels", "mean", "std"):
        assert getattr(recipe, name) == getattr(before, name)


def test_the_classifier_is_new_where_as_many_classes_are_others(shapes: Path, tmp_path: Path) -> None:
    first = go(Recipe(model="plain20", data=str(shapes), size=12, epochs=1), tmp_path / "first")
    others = shutil.copytree(shapes, tmp_path / "others")
    (others / "square").rename(others / "box")
    (others / "standing").rename(others / "tall")
    for data, new in ((shapes, False), (others, True)):
        recipe = Recipe(
            model="plain20", data=str(data), weights=str(first.directory), epochs=1, freeze="conv4_x", lr=1e-9
        )
        tuned = go(recipe, tmp_path / str(new))
        before, now = (weights(run)["fc.weight"] for run in (first, tuned))
        assert torch.allclose(before, now, atol=1e-4) is not new


def test_what_a_fine_tuning_recipe_leaves_open_is_as_the_network_has_it() -> None:
    recipe = Recipe.named("finetuning", model="lenet5")
    assert (recipe.model, recipe.fit, recipe.precision, recipe.lr) == ("lenet5", "pad", "32", 0.05)


def test_grey_pictures_are_not_mirrored_in_a_network_for_colours_either(shapes: Path, tmp_path: Path) -> None:
    recipe = Recipe(model="plain20", data=str(shapes), size=8, epochs=1)
    assert Recipe.read(go(recipe, tmp_path / "colour").directory / "recipe.yaml").flip is True
    for path in shapes.rglob("*.png"):
        Image.open(path).convert("L").save(path)
    assert Recipe.read(go(recipe, tmp_path / "grey").directory / "recipe.yaml").flip is False


def test_a_run_is_what_is_asked_for_by_another_path_and_not_with_other_data(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = go(Recipe(model="plain20", data=str(shapes), size=12, in_channels=1, epochs=1), tmp_path / "first")
    monkeypatch.chdir(tmp_path)
    asked = Recipe(model="plain20", data=shapes.name, weights="first", epochs=1)
    whole = Recipe.read(go(asked, tmp_path / "tuned").directory / "recipe.yaml")
    assert not asked_otherwise(asked, whole)
    assert asked_otherwise(replace(asked, data="digits"), whole) == f"data is '{shapes}' there, and 'digits' here"
    assert "mean is " in asked_otherwise(replace(asked, mean=(0.1,)), whole)
    assert first.directory.is_dir()


def test_a_fine_tuned_run_goes_on_without_the_weights_that_it_began_with(
    tuning: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from test_resuming import Killed, kill_at

    assert tuning.weights is not None
    copied = tmp_path / "weights.safetensors"
    copied.write_bytes(Path(tuning.weights).read_bytes())
    recipe = replace(tuning, weights=str(copied), layer_decay=0.5)
    whole = go(recipe, tmp_path / "whole")
    with monkeypatch.context() as patch:
        kill_at(3, patch)
        with pytest.raises(Killed):
            go(recipe, tmp_path / "parts")
    copied.unlink()
    assert equal(whole, ca.resume(tmp_path / "parts", quiet=True))


def test_fine_tuning_is_set_beside_training_from_nothing(
    convatlas: Callable[..., Said], tuning: Recipe, tmp_path: Path
) -> None:
    words = ["--weights", tuning.weights, "--data", tuning.data, "--epochs", 2, "--size", 16, "--freeze", "conv2_x"]
    said = convatlas("finetune", "resnet20", *words, "--against-scratch", "--output", tmp_path / "run", "--json")
    assert said.status == 0, said.err
    both = json.loads(said.out)
    assert both["finetuned"]["images"] == both["scratch"]["images"]
    scratch = Recipe.read(tmp_path / "run-scratch" / "recipe.yaml")
    assert (scratch.weights, scratch.freeze, scratch.layer_decay, scratch.epochs) == (None, None, 1.0, 2)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"weights": None}, "fine-tuning begins with trained weights"),
        ({"weights": "nowhere.pth"}, "there is no file nowhere.pth"),
        ({"freeze": "conv9_x"}, "resnet20 has no stage 'conv9_x' to freeze"),
        ({"freeze": "fc"}, "fc is the classifier, with which nothing of resnet20 would learn"),
        ({"model": "resnet56"}, "they look like those of resnet20"),
    ],
)
def test_what_cannot_be_fine_tuned_is_refused(
    tuning: Recipe, tmp_path: Path, change: dict[str, str], reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        finetune(replace(tuning, **change), output=tmp_path / "run", quiet=True)  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


def test_fine_tuning_asks_for_images(convatlas: Callable[..., Said], tmp_path: Path) -> None:
    said = convatlas("finetune", "resnet20", "--weights", "w.safetensors", "--output", tmp_path / "run")
    assert said.status == 2
    assert said.err.startswith("convatlas: finetune needs images to learn from")


def test_fine_tuning_takes_the_network_of_the_run_whose_weights_it_begins_with(
    convatlas: Callable[..., Said], run: Run, shapes: Path, tmp_path: Path
) -> None:
    words = ("--data", shapes, "--epochs", 1, "--output", tmp_path / "run", "--json")
    said = convatlas("finetune", "--weights", run.directory, *words)
    assert said.status == 0, said.err
    assert json.loads(said.out)["model"] == Recipe.read(run.directory / "recipe.yaml").model
    alone = shutil.copy(run.weights, tmp_path / "alone.safetensors")
    said = convatlas("finetune", "--weights", alone, *words)
    assert said.status == 2
    assert "alone.safetensors does not say which network it is of; name it" in said.err
