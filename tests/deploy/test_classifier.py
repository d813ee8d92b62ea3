"""Prediction takes the same path as evaluation."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import convatlas as ca
from convatlas import Recipe
from convatlas.data import load_splits, open_source
from convatlas.data.images import UnreadableImageError
from convatlas.training.run import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    recipe = Recipe(model="lenet", data="digits", epochs=25, batch_size=32)
    return ca.train(recipe, output=tmp_path_factory.mktemp("runs") / "run", quiet=True)


def test_predictions_of_the_test_images_are_right_as_often_as_the_run_says(run: Run) -> None:
    classifier = ca.load(run.directory)
    splits = load_splits(open_source("digits"), size=(1, 28, 28), fit="crop", validation=0.1)
    assert splits.test is not None
    arrays = [image[0].numpy() for image in splits.test.images]
    found = classifier.predict(arrays)
    right = sum(p.label == classifier.classes[i] for p, i in zip(found, splits.test.labels.tolist(), strict=True))
    assert right == run.results["test"]["right"]
    assert run.results["test"]["accuracy"] > 90


def test_paths_images_and_arrays_get_the_same_answer(run: Run, tmp_path: Path) -> None:
    classifier = ca.load(run.directory)
    array = np.zeros((40, 40), np.uint8)
    array[5:35, 18:24] = 255
    Image.fromarray(array).save(tmp_path / "one.png")
    answers = [
        classifier.predict(p, top=10)[0]
        for p in (array, Image.fromarray(array), tmp_path / "one.png", str(tmp_path / "one.png"))
    ]
    assert all(answer == answers[0] for answer in answers)
    assert sum(answers[0].probabilities) == pytest.approx(1, abs=1e-5)
    assert list(answers[0].probabilities) == sorted(answers[0].probabilities, reverse=True)
    assert set(answers[0].labels) == set("0123456789")


def test_what_cannot_be_read_is_an_error_that_names_it(run: Run, tmp_path: Path) -> None:
    classifier = ca.load(run.directory)
    (tmp_path / "bad.png").write_bytes(b"no")
    with pytest.raises(UnreadableImageError, match=r"bad\.png"):
        classifier.predict([np.zeros((8, 8), np.uint8), tmp_path / "bad.png"])
    with pytest.raises(UnreadableImageError, match="there is no file"):
        classifier.predict("nothing.png")
    with pytest.raises(ValueError, match="an array has to be uint8"):
        classifier.predict(np.zeros((8, 8)))
    kinds = [type(a).__name__ for a in classifier.stream([np.zeros((8, 8), np.uint8), tmp_path / "bad.png"])]
    assert kinds == ["Prediction", "UnreadableImageError"]


def test_no_pictures_get_no_answers(run: Run) -> None:
    assert ca.load(run.directory).predict([]) == []


def test_what_is_saved_is_read_back_with_its_classes_and_preparation(run: Run, tmp_path: Path) -> None:
    classifier = ca.load(run.directory)
    classifier.save_pretrained(tmp_path / "saved")
    assert {path.name for path in (tmp_path / "saved").iterdir()} == {"model.safetensors", "config.json", "README.md"}
    again = ca.Classifier.from_pretrained(tmp_path / "saved")
    assert again.bundle == classifier.bundle
    assert repr(again) == "Classifier(lenet, 10 classes, images of 1×28×28)"
    picture = np.arange(64, dtype=np.uint8).reshape(8, 8)
    assert again.predict(picture) == classifier.predict(picture)
