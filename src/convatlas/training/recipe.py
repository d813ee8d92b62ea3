"""`Recipe`: one training run, whole. What is not a field here did not influence it."""

import dataclasses
import math
import os
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
import yaml

from convatlas.errors import InputError
from convatlas.fields import conform, of_text
from convatlas.files import write_text
from convatlas.training.recipes import own
from convatlas.wording import nearest

Value = bool | int | float | str  # on a command line; a list and None are read out of text
AUXILIARY = 0.3
# As the field's type says, and in the help without the word None:
Whole = Annotated[int | None, tyro.conf.arg(metavar="INT")]
Several = Annotated[tuple[float, ...] | None, tyro.conf.arg(metavar="FLOAT …")]


def _own() -> Any:
    """A default that the model's own recipe fills in (`recipes.py`)."""
    return field(default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One training run, whole. What is not given here is the model's own recipe."""

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[MODEL]")] = "lenet"
    """The network to train; `convatlas models` lists them."""
    data: str = "digits"
    """digits, mnist, fashion_mnist, cifar10, cifar100, imagenet, org/name on the Hub, or a path: a folder
    with a folder of images for each class, IDX or CIFAR files, Parquet, a saved data set, a CSV table."""
    label_column: Annotated[str | None, tyro.conf.arg(metavar="COLUMN")] = None
    """The column of the labels, where a data set has several."""
    strict: bool = False
    """Refuse images that cannot be read, instead of passing over them."""
    validation: float = 0.1
    """The share of the training images on which the best epoch is chosen."""

    changes: Annotated[dict[str, Value], tyro.conf.arg(metavar="NAME VALUE …")] = field(
        default_factory=dict, hash=False
    )
    """Changes of the network's spec, such as: shortcut B; a list is written as [3,4,6,3], and nothing as None."""
    in_channels: Whole = None
    """1 for grey images, 3 for colour; as the network has it where it is not given."""
    size: Whole = None
    """The height and width that images are brought to, for networks that take any."""
    fit: Literal["crop", "pad", "stretch"] = _own()
    """How an image is brought to that size."""
    mean: Several = None
    """Subtracted from pixels of 0…1, a value a channel; as measured on the training images if not given."""
    std: Several = None
    """Divided by after that; as measured on the training images if not given."""
    init: Literal["paper", "xavier", "he"] = "paper"
    """How weights begin: as the network's paper says, Xavier (Glorot), or He."""

    epochs: Whole = None
    """Passes over the training images; if not given, the model's own number, and up to ten times
    as many where the images are few."""
    batch_size: int = _own()
    """Images a step."""
    optimizer: Literal["sgd", "adam", "adamw"] = _own()
    """What steps."""
    lr: float = _own()
    """The learning rate at its highest."""
    momentum: float = 0.9
    """Of sgd."""
    nesterov: bool = True
    """Of sgd: look ahead (Sutskever et al. 2013)."""
    weight_decay: float = _own()
    """Pulls weights towards zero."""
    decay_all: bool = False
    """Decay biases and normalisation too."""
    schedule: Literal["cosine", "step", "onecycle", "constant"] = _own()
    """How the learning rate changes, step by step."""
    warmup: float = _own()
    """Epochs in which the learning rate rises to lr; of onecycle, a share of all epochs where it is below 1."""
    milestones: tuple[float, ...] = (0.5, 0.75)
    """Of step: after these shares of the run the learning rate is multiplied by gamma."""
    gamma: float = 0.1
    """Of step."""
    label_smoothing: float = _own()
    """The share of the target that goes to all classes alike (Szegedy et al. 2016)."""
    rubbish: float = _own()
    """Let a class of rubbish, which no image is of, always answer with minus this; 0: there is none
    (LeCun et al. 1998, Eq. 9)."""
    auxiliary_weight: float = AUXILIARY
    """What the losses of auxiliary classifiers count, where the network has them (Szegedy et al. 2014, Sec. 5)."""
    clip: float = _own()
    """The largest norm that the gradient may have; 0: any."""

    flip: Annotated[bool | None, tyro.conf.arg(metavar="{True,False}")] = None
    """Mirror images with probability 1/2; if not given, colour images are and grey ones (handwriting) are not."""
    crop: int = _own()
    """Pad with this many pixels, and crop at random."""
    colour: float = 0.0
    """Change brightness, contrast and saturation within 1 ± this."""
    erase: int = 0
    """Blank a random square of this side, in pixels (cutout)."""

    seed: int = 0
    """Every random choice follows from it."""
    precision: Literal["auto", "32", "bf16"] = _own()
    """auto: bf16 where the machine multiplies in it, or else 32 bits."""
    compile: bool = _own()
    """Compile the network where the run is long enough to pay for it (as torch.compile does; on a processor that
    takes a C++ compiler)."""
    channels_last: bool = True
    """Keep the channels of a pixel together in memory, which is faster."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", os.fspath(self.data))
        defaults = own(conform("model", self.model, str))
        for f in dataclasses.fields(self):
            if f.name in defaults and f.name != "epochs" and getattr(self, f.name) is None:
                object.__setattr__(self, f.name, defaults[f.name])
        object.__setattr__(self, "changes", {name: of_text(value) for name, value in self.changes.items()})
        for name, type_ in typing.get_type_hints(type(self)).items():
            object.__setattr__(self, name, conform(name, getattr(self, name), type_))
        for name, least in (("epochs", 1), ("batch_size", 1), ("size", 1), ("crop", 0), ("erase", 0), ("warmup", 0),
                            ("weight_decay", 0), ("colour", 0), ("seed", 0), ("clip", 0),
                            ("auxiliary_weight", 0)):  # fmt: skip
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"{name} is at least {least}, and not {value}")
        for name in ("lr", "momentum", "weight_decay", "warmup", "gamma", "rubbish", "clip", "colour",
                     "auxiliary_weight"):  # fmt: skip
            if not math.isfinite(getattr(self, name)):
                raise InputError(f"{name} is a finite number, and not {getattr(self, name)}")
        if self.in_channels not in (None, 1, 3):
            raise InputError(f"in_channels is 1 (grey) or 3 (colour), and not {self.in_channels}")
        for name in ("momentum", "label_smoothing", "colour"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} lies between 0 and 1, and is not {getattr(self, name)}")
        if not 0 < self.validation < 1:
            raise InputError(f"validation is a share between 0 and 1, and not {self.validation}")
        if not self.lr > 0:
            raise InputError(f"lr is above 0, and not {self.lr}")

    @classmethod
    def read(cls, path: Path) -> "Recipe":
        """The recipe in a YAML file. Raises InputError for an unknown field, and lists the known ones."""
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"the recipe {path} cannot be read: {error.strerror}") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise InputError(f"{path} is not a YAML file: {' '.join(str(error).split())}") from error
        if not isinstance(values, dict):
            raise InputError(f"{path} is not a recipe: it has to map names to values, such as `lr: 0.1`")
        values.pop("versions", None)
        known = [f.name for f in dataclasses.fields(cls)]
        for name in values:
            if name not in known:
                raise InputError(
                    f"{path} has {name!r}, which a recipe does not (nearest: {nearest(str(name), known)}); "
                    f"a recipe has {', '.join(known)}"
                )
        try:
            return cls(**values)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

    def write(self, path: Path, *, versions: Mapping[str, str]) -> None:
        """Write the recipe as YAML, with the versions that it was run with."""
        values = dataclasses.asdict(self)
        for name, value in values.items():
            if isinstance(value, tuple):
                values[name] = list(value)
        text = yaml.safe_dump(values | {"versions": dict(versions)}, sort_keys=False, allow_unicode=True)
        write_text(path, f"# convatlas train --recipe {path.name}\n{text}")
