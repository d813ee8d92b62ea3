"""`report.html`: one page a run, which stands alone. Here is what it shows; `report.html.jinja` is how it looks."""

import base64
import dataclasses
import io
import math
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from jinja2 import Environment, StrictUndefined
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from convatlas.data.held import Held, Indexed
from convatlas.data.splits import Splits
from convatlas.files import write_text
from convatlas.registry import Card, model_card
from convatlas.training.drawings import COLOURS, NUMBERED, curves, drawing, heat_map, shortened, svg
from convatlas.training.evaluation import Answers
from convatlas.training.recipe import Recipe
from convatlas.training.run import Row, Run
from convatlas.weights.bundle import Bundle
from convatlas.wording import printable

if TYPE_CHECKING:
    pass

MAPPED = 100
"""Up to so many there is a heat map."""
PAIRS = 30
"""How many pairs of confused classes are listed where there is no heat map."""
BESIDE = 12
"""How many beside it."""
PICTURES = 24
"""How many mistakes are shown."""
SKIPPED = 50
"""How many unreadable images are named."""
SIDE = 192
"""Pixels: larger pictures are scaled down to it, so that the page stays small."""


class Score(NamedTuple):
    """How a class fared."""

    name: str
    right: int
    total: int
    recall: float
    """Per cent, as precision; not a number where there is nothing to divide by."""
    precision: float


class Confusion(NamedTuple):
    """How many of a class's images were taken for another class."""

    true: str
    said: str
    images: int
    total: int


class Mistake(NamedTuple):
    """An image that was taken for another class."""

    true: str
    said: str
    probability: float
    """Per cent."""
    file: str
    image: Tensor
    """uint8 (C, H, W)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What the page shows."""

    directory: str
    card: Card
    recipe: Recipe
    bundle: Bundle
    splits: Splits
    results: Mapping[str, Any]
    rows: Sequence[Row]
    """An epoch each; none where the first was interrupted."""
    part: Literal["test", "validation"]
    """Whose answers these are."""
    answers: Answers
    scores: Sequence[Score]
    """A class each, in their order."""
    counts: NDArray[np.int64]
    """(K, K): how many images of a class (down) were taken for which (across)."""
    confusions: Sequence[Confusion]
    """The most frequent first."""
    mistakes: Sequence[Mistake]
    """The surest first."""

    @property
    def weakest(self) -> list[Score]:
        """The classes with the lowest recall, of those that have images."""
        return sorted((score for score in self.scores if score.total), key=lambda score: score.recall)[:NUMBERED]


def write_report(
    run: Run,
    *,
    recipe: Recipe,
    bundle: Bundle,
    splits: Splits,
    results: Mapping[str, Any],
    pixels: Indexed,
    answers: Answers,
) -> None:
    """Write `report.html` into the run's folder; `answers` are the network's to `pixels`, in order."""
    page = survey(
        run, recipe=recipe, bundle=bundle, splits=splits, results=results, pixels=pixels, answers=answers
    )  # fmt: skip
    write_text(run.directory / "report.html", render(page))


def survey(
    run: Run,
    *,
    recipe: Recipe,
    bundle: Bundle,
    splits: Splits,
    results: Mapping[str, Any],
    pixels: Indexed,
    answers: Answers,
) -> Page:
    """What there is to say of a run."""
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    classes, numbers = bundle.classes, np.arange(len(bundle.classes))
    true, said = answers.labels.numpy(), answers.logits.argmax(1).numpy()
    counts = confusion_matrix(true, said, labels=numbers)
    precision, recall, _, total = precision_recall_fscore_support(true, said, labels=numbers, zero_division=np.nan)
    columns = (counts.diagonal().tolist(), total.tolist(), (100 * recall).tolist(), (100 * precision).tolist())
    rows: list[Row] = []
    with suppress(FileNotFoundError):  # the first epoch was interrupted
        rows = run.metrics
    return Page(
        directory=str(run.directory),
        card=model_card(recipe.model),
        recipe=recipe,
        bundle=bundle,
        splits=splits,
        results=results,
        rows=rows,
        part="validation" if results["test"] is None else "test",
        answers=answers,
        scores=[Score(*score) for score in zip(classes, *columns, strict=True)],
        counts=counts,
        confusions=confused(counts, classes),
        mistakes=surest_mistakes(answers, pixels, classes),
    )


def confused(counts: NDArray[np.int64], classes: Sequence[str]) -> list[Confusion]:
    """The pairs of classes that were confused most; `counts` (K, K) has the true classes down."""
    wrong = counts - np.diag(counts.diagonal())
    frequent = np.argsort(-wrong, axis=None, kind="stable")[: min(PAIRS, np.count_nonzero(wrong))]
    pairs = zip(*np.unravel_index(frequent, wrong.shape), strict=True)
    return [Confusion(classes[i], classes[j], int(wrong[i, j]), int(counts[i].sum())) for i, j in pairs]


def surest_mistakes(answers: Answers, pixels: Indexed, classes: Sequence[str]) -> list[Mistake]:
    """The mistakes of which the network was surest."""
    true, said, sure = answers.labels.numpy(), answers.logits.argmax(1).numpy(), answers.probabilities.max(1)
    wrong = np.flatnonzero(said != true)
    surest = wrong[np.argsort(-sure[wrong], kind="stable")][:PICTURES]
    return [
        Mistake(classes[true[i]], classes[said[i]], 100 * float(sure[i]), pixels.names[i], image)
        for i, image in zip(surest.tolist(), pixels.at(surest), strict=True)
    ]


# --------------------------------------------------------------------------- words


def render(page: Page) -> str:
    """The page as HTML."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    for word in (percent, written, duration, shortened, data_uri, repr):
        environment.filters[word.__name__] = word
    template = environment.from_string((files(__package__) / "report.html.jinja").read_text(encoding="utf-8"))
    with drawing():
        best = page.results["best_epoch"]
        figures = curves(page.rows, best_epoch=best) if page.rows else {}
        charts = {title: svg(figure, f"{title} over the epochs") for title, figure in figures.items()}
        mapped = len(page.scores) <= MAPPED
        heat = svg(heat_map(page.counts, page.bundle.classes), "Confusion matrix") if mapped else ""
    text = template.render(
        page=page, results=page.results, answers=page.answers, charts=charts, heat=heat, colours=COLOURS,
        NUMBERED=NUMBERED, PAIRS=PAIRS, BESIDE=BESIDE, SKIPPED=SKIPPED, small=small,
        name=Path(page.recipe.data).name or page.recipe.data, folder=shlex.quote(page.directory), spread=spread,
        fields=[(f.name, getattr(page.recipe, f.name)) for f in dataclasses.fields(page.recipe)],
    )  # fmt: skip
    return printable(text)


def percent(value: float) -> str:
    """`97.50 %`, or a dash for what is no number."""
    return "–" if math.isnan(value) else f"{value:.2f}\N{NARROW NO-BREAK SPACE}%"


def written(value: object) -> str:
    """A value of the recipe as YAML has it, without the brackets."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {written(item)}" for name, item in value.items()) or "–"
    if isinstance(value, tuple):
        return ", ".join(map(written, value))
    if isinstance(value, bool):
        return str(value).lower()
    return "–" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """`0.8 s`, `3 min 20 s`, `5 h 2 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def spread(images: Held, classes: Sequence[str]) -> str:
    """How many images a class has, from the least to the most."""
    counts = images.counts(len(classes)).tolist()
    least, most = min(counts), max(counts)
    return f"{least:,}" if least == most else f"{least:,} – {most:,}"


def small(image: Tensor) -> bool:
    """Whether a picture (C, H, W) is shown pixel by pixel."""
    return max(image.shape) <= SIDE // 2


def data_uri(image: Tensor) -> str:
    """The picture, uint8 (C, H, W), for `src`: small ones to the pixel, and others scaled down, as JPEG."""
    picture = Image.fromarray(image.squeeze(0).numpy() if len(image) == 1 else image.permute(1, 2, 0).numpy())
    kind = "png" if small(image) else "jpeg"
    picture.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    picture.save(file, kind, quality=85)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
