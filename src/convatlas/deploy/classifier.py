"""`load` a trained network and ask it what pictures show."""

import os
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from huggingface_hub import ModelHubMixin
from numpy.typing import NDArray
from PIL import Image

from convatlas.data.decoding import made_ahead
from convatlas.data.images import Raw, UnreadableImageError
from convatlas.deploy.engines import Engine, EngineName, Numbers, numbers_of
from convatlas.deploy.engines import engine as engine_class
from convatlas.deploy.measuring import Choice, kept_choices
from convatlas.devices import Precision, cores, find_device
from convatlas.errors import InputError
from convatlas.network import Network
from convatlas.weights.bundle import Bundle, load_trained
from convatlas.wording import some

CARD = """---
{{ card_data }}
---

A network of convatlas; its classes and its preparation of images stand in `config.json`.

```python
import convatlas as ca

print(ca.load("org/name").predict("picture.jpg", top=3))
```
"""
Picture = str | os.PathLike[str] | Image.Image | NDArray[Any]
PIXELS = 256 * 32 * 32
"""How many pixels are put through a network at once."""


class Prediction(NamedTuple):
    """What a picture shows, by a network's opinion: the likeliest classes, likeliest first."""

    labels: tuple[str, ...]
    probabilities: tuple[float, ...]

    @property
    def label(self) -> str:
        """The likeliest class."""
        return self.labels[0]

    @property
    def probability(self) -> float:
        """Of the likeliest class."""
        return self.probabilities[0]


class Classifier(
    ModelHubMixin,
    library_name="convatlas",
    pipeline_tag="image-classification",
    model_card_template=CARD,
):
    """A trained network with all that travels with its weights.

    It computes by PyTorch in float32, or by the `engine` that is named. Where `convatlas bench` has found a faster one
    for a run on this machine, that is taken for as many pictures as fill a batch, when so many have come that it pays
    for the time until it is ready; one that fails by now is passed over with a RuntimeWarning, and what is named and
    fails raises an InputError.

    `save_pretrained(folder)` and `push_to_hub("org/name")` are huggingface_hub's; `from_pretrained` reads them back.
    """

    def __init__(
        self,
        bundle: Bundle,
        network: Network,
        *,
        device: str = "cpu",
        engine: EngineName | None = None,
        precision: Precision = "32",
        choices: Sequence[Choice] = (),
        folder: Path | None = None,
    ) -> None:
        self.bundle, self.network, self.device, self.folder = bundle, network.eval(), device, folder
        if engine is None and precision != "32":
            raise InputError("a precision is for an engine that is named; add --engine, or leave out --precision")
        if engine is not None:
            engine_class(engine)  # which tells a name that is none
        _, height, width = bundle.images.size
        self.eager = Choice("eager", "32", max(1, PIXELS // (height * width)))
        self.choices = list(choices)
        """Faster engines, the fastest first."""
        self.asked = engine and Choice(engine, numbers_of(engine, precision), self.eager.batch_size)
        self.engines: dict[Choice, Engine] = {}
        self.answered = Counter[tuple[EngineName, Numbers]]()
        """How many pictures each engine was asked about, in which numbers."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the logits."""
        return self.bundle.classes

    def __repr__(self) -> str:
        size = "×".join(map(str, self.bundle.images.size))
        return f"Classifier({self.bundle.model}, {some(len(self.classes), 'class', 'classes')}, images of {size})"

    def _save_pretrained(self, save_directory: Path) -> None:
        self.bundle.save(save_directory, self.network.state_dict())

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        source: str | os.PathLike[str],
        *,
        device: str = "cpu",
        engine: EngineName | None = None,
        precision: Precision = "32",
    ) -> "Classifier":
        """Like `load`."""
        folder, device = Path(source).expanduser(), find_device(device)
        bundle, network = load_trained(source)
        choices = kept_choices(folder, device, network) if engine is None else []
        return cls(
            bundle, network, device=device, engine=engine, precision=precision, choices=choices, folder=folder
        )  # fmt: skip

    @property
    def most(self) -> int:
        """How many pictures are put through the network at once."""
        return max(choice.batch_size for choice in (self.eager, *self.choices[:1]))

    def logits(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """`uint8 (N, C, H, W) -> float32 (N, K)`: by what was named, or the fastest, if N fills its batch and it pays.

        Raises InputError where what was named fails.
        """
        if self.asked:
            return self.by(self.asked, pixels)
        count, before = len(pixels), self.answered.total()
        while self.choices and count >= self.choices[0].batch_size and before >= self.choices[0].after:
            try:
                return self.by(self.choices[0], pixels)
            except InputError as error:
                self.choices.pop(0)
                said = f"{error}; it was the fastest here, and the next takes its place"
                warnings.warn(said, RuntimeWarning, stacklevel=2)
        return self.by(self.eager, pixels)

    def by(self, choice: Choice, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The logits by this engine."""
        logits = self.ready(choice)(pixels)
        self.answered[choice.engine, choice.precision] += len(pixels)
        return logits

    def ready(self, choice: Choice) -> Engine:
        """The engine, which is made when it is first needed."""
        if choice not in self.engines:
            self.engines[choice] = engine_class(choice.engine)(
                self.network, self.bundle.images, batch_size=choice.batch_size, device=self.device,
                precision=choice.precision, folder=self.folder,
            )  # fmt: skip
        return self.engines[choice]

    def predict(self, pictures: Picture | Iterable[Picture], *, top: int = 1) -> list[Prediction]:
        """For each picture its `top` likeliest classes.

        Pictures are paths, PIL images, or uint8 arrays of (H, W) or (H, W, C). Raises UnreadableImageError,
        which is an InputError, for one that cannot be read, and ValueError for arrays of another type and a `top` of 0.
        """
        single = isinstance(pictures, str | os.PathLike | Image.Image | np.ndarray)
        found = list(self.stream([pictures] if single else pictures, top=top))  # type: ignore[arg-type, list-item]
        for prediction in found:
            if isinstance(prediction, UnreadableImageError):
                raise prediction
        return [prediction for prediction in found if isinstance(prediction, Prediction)]

    def stream(self, pictures: Iterable[Picture], *, top: int = 1) -> Iterator[Prediction | UnreadableImageError]:
        """Like `predict`, one after another as batches are done; a picture that cannot be read gives its error.

        The next batch is decoded, by a thread for each core, while the network is busy with the last.
        """
        if top < 1:
            raise ValueError(f"top is at least 1, and not {top}")
        waiting = iter(pictures)
        with ThreadPoolExecutor(cores()) as pool:
            batches = iter(lambda: list(pool.map(self._decoded, islice(waiting, self.most))), [])
            with closing(made_ahead(batches, 1)) as ready:
                for batch in ready:
                    yield from self._answer(batch, top)

    def _decoded(self, picture: Picture) -> NDArray[np.uint8] | UnreadableImageError:
        try:
            return self.bundle.images.pixels(as_raw(picture))
        except UnreadableImageError as error:
            return error

    def _answer(
        self, batch: list[NDArray[np.uint8] | UnreadableImageError], top: int
    ) -> Iterator[Prediction | UnreadableImageError]:
        readable = [pixels for pixels in batch if not isinstance(pixels, UnreadableImageError)]
        answers: Iterator[NDArray[np.float32]] = iter(self._probabilities(np.stack(readable)) if readable else [])
        for pixels in batch:
            if isinstance(pixels, UnreadableImageError):
                yield pixels
            else:
                row = next(answers)
                order = np.argsort(-row, kind="stable")[:top]
                yield Prediction(tuple(self.classes[i] for i in order), tuple(float(row[i]) for i in order))

    def _probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """`uint8 (N, C, H, W) -> float32 (N, K)`."""
        probabilities: NDArray[np.float32] = torch.from_numpy(self.logits(pixels)).softmax(1).numpy()
        return probabilities


def load(
    source: str | os.PathLike[str],
    *,
    device: str = "cpu",
    engine: EngineName | None = None,
    precision: Precision = "32",
) -> Classifier:
    """The classifier in a run's folder, or of `org/name` on the Hub, by the engine that is named, in that precision.

    A `device` of "auto" is the best there is. Raises InputError where there is none of that name.
    """
    return Classifier.from_pretrained(source, device=device, engine=engine, precision=precision)


def as_raw(picture: Picture) -> Raw:
    """The picture as the data room takes it. Raises ValueError for an array that is no picture."""
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim not in (2, 3):
            raise ValueError(
                f"an array has to be uint8 of (H, W) or (H, W, C), and is {picture.dtype} of {picture.shape}"
            )
        return picture
    return picture if isinstance(picture, Image.Image) else Path(picture)
