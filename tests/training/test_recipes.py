"""The recipes that come with the atlas: each is whole, and each network has its own."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from convatlas import Recipe
from convatlas.errors import InputError
from convatlas.models import build, list_models
from convatlas.training.recipes import KINDS, NOTES, PLAIN, WITHOUT_PAPER, File, files, find, own, text

FILES = [pytest.param(file, id=f"{kind}/{file.name}") for kind in KINDS for file in files(kind)]
PAPERS = [pytest.param(file, id=file.name) for file in files("paper")]
CHANGING = [pytest.param(file, id=file.name) for file in files("paper") if "changes" in file.values]


def networks(file: File) -> list[str]:
    return [name for name in list_models() if file.fits(name)]


@pytest.mark.parametrize("file", FILES)
def test_a_recipe_is_whole_and_for_networks_that_there_are(file: File) -> None:
    recipe = Recipe.read(file.path)
    assert recipe.model in networks(file)
    for pattern in file.values["for"]:
        assert list_models(pattern), pattern
    assert file.path.read_text(encoding="utf-8").startswith("# ")  # says what it is


@pytest.mark.parametrize("file", PAPERS)
def test_nothing_of_the_modern_recipe_gets_into_a_papers(file: File) -> None:
    stated = {"epochs", "batch_size", "optimizer", "lr", "weight_decay", "schedule", "flip", "crop"}
    assert stated | ({"momentum", "nesterov"} if file.values["optimizer"] == "sgd" else set()) <= file.values.keys()
    if file.values["schedule"] == "step":
        assert "gamma" in file.values
        assert ("milestones" in file.values) != ("every" in file.values)
    for name in networks(file):
        modern = Recipe(model=name)
        for field in PLAIN.keys() - file.values.keys():
            assert getattr(modern, field) == PLAIN[field], f"{name}: {field} is left open, and the modern recipe has it"


@pytest.mark.parametrize("file", [pytest.param(file, id=file.name) for file in files("modern")])
def test_a_network_trains_by_all_that_its_modern_recipe_says(file: File) -> None:
    recipe = Recipe.read(file.path)
    assert replace(Recipe(model=recipe.model), epochs=recipe.epochs) == recipe


@pytest.mark.parametrize("file", CHANGING)
def test_a_papers_changes_fit_each_of_its_networks(file: File) -> None:
    for name in networks(file):
        with torch.device("meta"):
            build(name, num_classes=2, **file.values["changes"])


@pytest.mark.parametrize("name", list_models())
def test_every_network_has_its_papers_recipe_or_a_reason_for_having_none(name: str) -> None:
    assert (find("paper", name) is None) == (name in WITHOUT_PAPER)


def test_a_network_has_one_recipe_of_its_papers_for_each_data_set() -> None:
    for name in list_models():
        ours = [file for file in files("paper") if file.fits(name)]
        assert len({file.values["data"] for file in ours}) == len(ours), name


@pytest.mark.parametrize(
    ("model", "data", "name"),
    [
        ("resnet20", "digits", "resnet-cifar"),
        ("resnet110", "digits", "resnet110-cifar"),
        ("resnet50", "digits", "resnet-imagenet"),
        ("resnet50_v1_5", "cifar10", "fb-resnet-imagenet"),
        ("wrn_28_10", "digits", "wrn-cifar"),
        ("wrn_28_10", "cifar100", "wrn-cifar"),
        ("wrn_28_10", "ufldl-stanford/svhn:cropped_digits", "wrn-svhn"),
        ("densenet_40_12", "/data/SVHN", "densenet-svhn"),
        ("lenet", "mnist", "lenet-d2l"),
        ("lenet5", "photos", "lenet5-mnist"),
    ],
)
def test_a_papers_recipe_is_chosen_by_the_network_and_then_by_the_data(model: str, data: str, name: str) -> None:
    file = find("paper", model, data=data)
    assert file is not None
    assert file.name == name
    recipe = Recipe.named("paper", model=model, data=data)
    assert recipe.model == model
    assert recipe == Recipe(**{k: v for k, v in file.values.items() if k not in NOTES} | {"model": model})


def test_the_paper_of_resnet_110_warms_up() -> None:
    recipe = Recipe.named("paper", model="resnet110")
    assert (recipe.data, recipe.lr, recipe.warmup_lr, recipe.epochs) == ("cifar10", 0.1, 0.01, 182)
    assert not Recipe.named("paper", model="resnet20").warmup


def test_modern_is_what_a_recipe_is_without_being_asked() -> None:
    assert Recipe.named("modern", model="lenet5") == Recipe(model="lenet5")
    assert Recipe.named("modern", model="resnet20").epochs is None  # as many as the images ask for


def test_the_most_exact_file_wins() -> None:
    assert own("resnet110_sd")["lr"] < own("resnet101")["lr"]  # "0.1 is slightly too large to start converging"


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_shown_of_a_recipe_is_a_file_of_the_network_that_can_be_changed(kind: str, tmp_path: Path) -> None:
    copy = tmp_path / "mine.yaml"
    copy.write_text(re.sub(r"^lr: \S+", "lr: 0.2", text(kind, model="resnet56"), flags=re.MULTILINE), encoding="utf-8")
    recipe = Recipe.named(kind, model="resnet56")
    assert Recipe.named(str(copy)) == replace(recipe, lr=0.2, epochs=recipe.epochs or 30)


def test_a_name_that_is_none_is_answered_with_those_there_are() -> None:
    with pytest.raises(
        InputError, match=r"no recipe is called 'resnet-cfar' \(nearest: resnet-cifar.*by name airbench-.* wrn-svhn; or"
    ):
        Recipe.named("resnet-cfar")


def test_a_network_without_a_paper_is_told_why_and_one_that_is_none_is_told_so() -> None:
    with pytest.raises(InputError, match="vit_cifar has no recipe of a paper's: no paper has a ViT of this size"):
        Recipe.named("paper", model="vit_cifar")
    with pytest.raises(InputError, match="no model is called 'resnet21x'; the nearest: resnet"):
        Recipe.named("paper", model="resnet21x")
