"""The page of a run, of runs that were never trained: their answers are drawn at random."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from convatlas.data import Pixels, Preparation, Splits
from convatlas.data.source import Skipped
from convatlas.training.drawings import curves, drawing, heat_map, shortened, svg
from convatlas.training.evaluation import Answers
from convatlas.training.recipe import Recipe
from convatlas.training.report import duration, percent, survey, write_report
from convatlas.training.run import Row, Run
from convatlas.weights.bundle import Bundle

DIGITS = tuple("0123456789")


def pixels(count: int, classes: int, *, side: int = 8, channels: int = 1) -> Pixels:
    draw = torch.Generator().manual_seed(count)
    images = torch.randint(256, (count, channels, side, side), generator=draw, dtype=torch.uint8)
    names = [f"images/{i}.png" for i in range(count)]
    return Pixels(images, torch.arange(count) % classes, names, np.zeros((count, 2), np.uint64))


def rows(epochs: int) -> list[Row]:
    return [
        {"epoch": e, "lr": 0.1 / e, "train_loss": 2 / e, "train_accuracy": 100 - 50 / e,
         "images_per_second": 1000.0, "seconds": 2.0, "val_loss": 2.5 / e, "val_accuracy": 100 - 60 / e}
        for e in range(1, epochs + 1)
    ]  # fmt: skip


def finished(
    folder: Path,
    *,
    classes: tuple[str, ...] = DIGITS,
    images: int = 100,
    epochs: int = 5,
    test: bool = True,
    status: str = "done",
    skipped: int = 0,
    sure: float = 4.0,
    **look: int,
) -> tuple[Run, dict[str, Any]]:
    """A run's folder, and what `write_report` is told of it."""
    run = Run(folder)
    parts = [pixels(images, len(classes), **look) for _ in range(3)]
    missing = [Skipped(f"broken/{i}.jpg", "it is cut short") for i in range(skipped)]
    splits = Splits(train=parts[0], val=parts[1], test=parts[2] if test else None, classes=classes,
                    how="as the data set has them", skipped=missing)  # fmt: skip
    logits = torch.randn(images, len(classes), generator=torch.Generator().manual_seed(0))
    logits[torch.arange(images), parts[2].labels] += sure
    answers = Answers(logits, parts[2].labels)
    recipe = Recipe(model="lenet", data="digits", epochs=5)
    size = (look.get("channels", 1), look.get("side", 8), look.get("side", 8))
    preparation = Preparation(size=size, mean=(0.5,) * size[0], std=(0.25,) * size[0])
    if epochs:
        run.write_metrics(rows(epochs))
    results = {
        "status": status, "model": "lenet", "data": "digits", "parameters": 61_706,
        "images": {"train": images, "val": images, "test": images * test, "skipped": skipped},
        "split": splits.how, "best_epoch": max(1, epochs - 1), "val": {"accuracy": 87.5, "error": 12.5},
        "test": answers.scores() if test else None,
        "note": "the best epoch was chosen on the validation images",
        "machine": {"system": "Linux", "processor": "one"}, "versions": {"python": "3.11", "convatlas": "0.1.0"},
    }  # fmt: skip
    bundle = Bundle(model="lenet", classes=classes, images=preparation)
    shown = splits.test if splits.test is not None else splits.val
    return run, {"recipe": recipe, "bundle": bundle, "splits": splits, "results": results, "pixels": shown,
                 "answers": answers}  # fmt: skip


def page(folder: Path, **how: Any) -> str:
    run, told = finished(folder, **how)
    write_report(run, **told)
    return (folder / "report.html").read_text(encoding="utf-8")


class Elements(HTMLParser):
    """Every element's name and attributes, and the words between them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)
        self.words = re.sub("[ \n]+", " ", self.words)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_page_tells_the_accuracy_and_of_how_many(tmp_path: Path) -> None:
    run, told = finished(tmp_path)
    write_report(run, **told)
    words = Elements((tmp_path / "report.html").read_text(encoding="utf-8")).words
    answers = told["answers"]
    assert 0 < answers.right < answers.total
    assert f"{percent(answers.accuracy)} accuracy on the test images" in words
    assert f"{answers.right} of 100 right, error {percent(100 - answers.accuracy)}" in words
    assert "Best epoch4 of 5" in words
    assert f"Validation{percent(87.5)}" in words


def test_the_page_asks_for_nothing_from_outside_and_runs_nothing(tmp_path: Path) -> None:
    elements = Elements(page(tmp_path, skipped=1)).found
    assert not {tag for tag, _ in elements} & {"script", "iframe", "object", "embed"}
    for tag, attributes in elements:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith(("data:", "#")), tag
        assert "url(http" not in (attributes.get("style") or "")


def test_no_two_elements_of_the_page_have_one_id(tmp_path: Path) -> None:
    ids = [attributes["id"] for _, attributes in Elements(page(tmp_path)).found if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_names_from_outside_are_escaped_wherever_they_stand(tmp_path: Path) -> None:
    evil = '<script>alert("1")</script>'
    run, told = finished(tmp_path, classes=(evil, "b & c"), sure=0)
    told["pixels"].names[:] = [f'"><script>{i}' for i in range(100)]
    told["splits"].skipped.append(Skipped(evil, evil))
    write_report(run, **told)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<script" not in text
    assert "&lt;script&gt;alert(&#34;1&#34;)" in text
    assert evil in Elements(text).words


def test_names_that_are_mathematics_or_foreign_or_no_unicode_are_taken_as_they_are(tmp_path: Path) -> None:
    text = page(tmp_path, classes=("$5", "$x_1$", "蚂蚁", "\udcff.jpg", "🐝"))
    assert "$x_1$" in Elements(text).words
    assert "蚂蚁" in text


def test_an_interrupted_run_says_so_and_how_to_go_on(tmp_path: Path) -> None:
    folder = tmp_path / "my runs"
    folder.mkdir()
    words = Elements(page(folder, status="interrupted", epochs=3, test=False)).words
    assert "This run was interrupted after 3 of 5 epochs." in words
    assert f"convatlas resume '{folder}'" in words
    assert "accuracy on the validation images" in words


def test_a_run_that_was_interrupted_in_its_first_epoch_has_a_page_without_curves(tmp_path: Path) -> None:
    words = Elements(page(tmp_path, status="interrupted", epochs=0, test=False)).words
    assert "This run was interrupted in its first epoch." in words
    assert "there are no curves yet" in words


def test_a_page_without_test_images_is_of_the_validation_images(tmp_path: Path) -> None:
    words = Elements(page(tmp_path, test=False)).words
    assert "accuracy on the validation images" in words
    assert "the test images" not in words


def test_one_epoch_is_drawn_as_a_point(tmp_path: Path) -> None:
    assert page(tmp_path, epochs=1).count("<svg") == 4
    figures = curves(rows(1), best_epoch=1)
    assert list(figures) == ["Loss", "Accuracy, per cent", "Learning rate"]
    assert figures["Loss"].axes[0].lines[0].get_marker() == "o"


def test_the_best_epoch_is_marked_where_its_row_is_there(tmp_path: Path) -> None:
    assert "best, epoch 4" in page(tmp_path)
    labels = [line.get_label() for line in curves(rows(3), best_epoch=7)["Loss"].axes[0].lines]
    assert labels == ["train", "validation"]


def test_the_mistakes_are_mistakes_and_the_surest_come_first(tmp_path: Path) -> None:
    run, told = finished(tmp_path, sure=1)
    mistakes = survey(run, **told).mistakes
    assert len(mistakes) == 24
    answers, probabilities = told["answers"], told["answers"].probabilities.max(1)
    said = answers.logits.argmax(1)
    for mistake in mistakes:
        index = int(re.findall(r"\d+", mistake.file)[0])
        assert mistake.true == DIGITS[answers.labels[index]]
        assert mistake.said == DIGITS[said[index]] != mistake.true
        assert mistake.probability == pytest.approx(100 * probabilities[index])
        assert torch.equal(mistake.image, told["pixels"].images[index])
    sure = [mistake.probability for mistake in mistakes]
    assert sure == sorted(sure, reverse=True)
    assert sure[0] == pytest.approx(100 * probabilities[(said != answers.labels).numpy()].max())


def test_a_network_without_mistakes_is_told_so(tmp_path: Path) -> None:
    assert "all 100 test images are named rightly" in Elements(page(tmp_path, sure=100)).words


def test_recall_and_precision_are_of_each_class(tmp_path: Path) -> None:
    run, told = finished(tmp_path, classes=("a", "b", "c"), images=4)
    told["answers"] = Answers(torch.eye(3)[[0, 1, 1, 1]], torch.tensor([0, 0, 1, 1]))
    scores = survey(run, **told).scores
    assert scores[:2] == [("a", 1, 2, 50, 100), ("b", 2, 2, 100, pytest.approx(200 / 3))]
    assert scores[2][:3] == ("c", 0, 0)
    assert percent(scores[2].recall) == "–"
    assert survey(run, **told).confusions == [("a", "b", 1, 2)]


@pytest.mark.parametrize(("classes", "drawn"), [(20, 4), (21, 4), (100, 4), (101, 3), (1000, 3)])
def test_many_classes_with_long_names_leave_the_page_small(tmp_path: Path, classes: int, drawn: int) -> None:
    names = tuple(f"a class with a name that is rather long, number {i}" for i in range(classes))
    text = page(tmp_path, classes=names, images=3 * classes, sure=2)
    assert text.count("<svg") == drawn
    assert len(text) < 1_000_000
    assert names[-1] in text


def test_of_150_classes_the_most_confused_pairs_and_the_weakest_come_first(tmp_path: Path) -> None:
    run, told = finished(tmp_path, classes=tuple(map(str, range(150))), images=1500, sure=2)
    seen = survey(run, **told)
    counts = [pair.images for pair in seen.confusions]
    assert len(counts) == 30
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == (seen.counts - np.diag(seen.counts.diagonal())).max()
    recalls = [score.recall for score in seen.weakest]
    assert recalls == sorted(score.recall for score in seen.scores)[:20]


def test_large_colour_pictures_are_scaled_down(tmp_path: Path) -> None:
    text = page(tmp_path, side=448, channels=3, images=40, sure=0)
    assert text.count("data:image/jpeg") == 24
    assert len(text) < 2_000_000


def test_of_many_unreadable_images_fifty_are_named(tmp_path: Path) -> None:
    words = Elements(page(tmp_path, skipped=60)).words
    assert "broken/49.jpg" in words
    assert "broken/50.jpg" not in words
    assert "And 10 more." in words


def test_a_run_gives_one_page_whatever_style_the_user_has(tmp_path: Path) -> None:
    import matplotlib

    first = page(tmp_path)
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "text.usetex": True}):
        assert page(tmp_path) == first
        assert matplotlib.rcParams["font.size"] == 30


def test_a_drawing_has_the_colours_of_the_page() -> None:
    with drawing():
        text = svg(heat_map(np.array([[9, 1], [0, 10]]), ("a", "b")), "who & whom")
    assert 'aria-label="who &amp; whom"' in text
    assert "fill: var(--muted)" in text
    assert not re.search("#[0-9a-f]{6}(?![0-9a-f])", text.replace("#ffffff", ""))


def test_numbers_are_put_into_words() -> None:
    assert [duration(s) for s in (0.84, 42, 200, 18_120)] == ["0.8 s", "42 s", "3 min 20 s", "5 h 2 min"]
    assert percent(97.5) == "97.50\N{NARROW NO-BREAK SPACE}%"
    assert shortened("Egyptian cat") == "Egyptian cat"
    assert len(shortened("a name of a class that goes on")) <= 18
