"""A recipe is a run, whole: read, written, checked."""

from pathlib import Path

import pytest

from convatlas import Recipe
from convatlas.errors import InputError
from convatlas.training.recipes import own_epochs


def test_what_is_not_given_is_the_models_own() -> None:
    assert Recipe(model="lenet5").fit == "pad"
    assert Recipe(model="resnet20").optimizer == "sgd"
    assert Recipe(model="resnet20", lr=0.3).lr == 0.3
    assert Recipe(model="resnet110").lr < Recipe(model="resnet20").lr  # "0.1 is slightly too large to start converging"


def test_lenet5_gets_its_pixels_as_the_paper_scales_them() -> None:
    recipe = Recipe(model="lenet5")
    assert recipe.mean is not None
    assert recipe.std is not None
    assert (0 - recipe.mean[0]) / recipe.std[0] == pytest.approx(-0.1)
    assert (1 - recipe.mean[0]) / recipe.std[0] == pytest.approx(1.175)


def test_few_images_get_more_epochs_and_no_more_than_ten_times_as_many() -> None:
    assert own_epochs("resnet20", images=45_000, batch_size=128) == 30
    assert own_epochs("resnet20", images=2_560, batch_size=128) == 100
    assert own_epochs("resnet20", images=50, batch_size=128) == 300


def test_a_recipe_comes_back_from_its_file(tmp_path: Path) -> None:
    recipe = Recipe(
        model="resnet20", changes={"shortcut": "B"}, mean=(0.1, 0.2, 0.3), std=(1, 1, 1), precision="32", lr=1e-5
    )
    recipe.write(tmp_path / "recipe.yaml", versions={"torch": "2.13"})
    assert Recipe.read(tmp_path / "recipe.yaml") == recipe


def test_yaml_is_read_as_people_write_it(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("model: lenet\nlr: 1e-3\nprecision: 32\nepochs: 3\nmean: [0.5]\nweight_decay: 0\n")
    recipe = Recipe.read(tmp_path / "r.yaml")
    assert (recipe.lr, recipe.precision, recipe.epochs, recipe.mean, recipe.weight_decay) == (
        1e-3,
        "32",
        3,
        (0.5,),
        0.0,
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("learning_rate: 1", "has 'learning_rate', which a recipe does not .* a recipe has model, data, "),
        ("epochs: ten", "epochs is a whole number or left out, and not 'ten'"),
        ("epochs: 1.5", "epochs is a whole number or left out, and not 1.5"),
        ("optimizer: rmsprop", "optimizer is one of sgd, adam, adamw, and not 'rmsprop'"),
        ("flip: maybe", "flip is true or false or left out"),
        ("mean: 0.5", "mean is a list, of which each is a number or left out"),
        ("lr: -1", "lr is above 0"),
        ("batch_size: 0", "batch_size is at least 1"),
        ("validation: 1.5", "validation is a share between 0 and 1"),
        ("in_channels: 2", "in_channels is 1 .* or 3"),
        ("- a list", "is not a recipe"),
        ("{", "is not a YAML file"),
    ],
)
def test_a_faulty_recipe_is_answered_with_the_file_and_the_field(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(InputError, match=reason) as error:
        Recipe.read(tmp_path / "r.yaml")
    assert "r.yaml" in str(error.value)


def test_a_recipe_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.yaml cannot be read"):
        Recipe.read(tmp_path / "nothing.yaml")
