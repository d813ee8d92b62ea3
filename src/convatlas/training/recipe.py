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
from convatlas.training.recipes import KINDS, NOTES, locate, own
from convatlas.wording import nearest

Value = bool | int | float | str  # on a command line; a list and None are read out of text
AUXILIARY = 0.3
ANY = math.inf
RANGES = {
    # field             least most
    "epochs":           (1,   ANY),
    "batch_size":       (1,   ANY),
    "accumulate":       (1,   ANY),
    "lr_batch":         (1,   ANY),
    "size":             (1,   ANY),
    "crop":             (0,   ANY),
    "resized_crop":     (0,   1),
    "colour":           (0,   1),
    "lighting":         (0,   ANY),
    "rand_operations":  (1,   ANY),
    "rand_magnitude":   (0,   30),
    "erase":            (0,   ANY),
    "erasing":          (0,   1),
    "mixup":            (0,   ANY),
    "cutmix":           (0,   ANY),
    "momentum":         (0,   1),
    "weight_decay":     (0,   ANY),
    "layer_decay":      (0,   1),
    "label_smoothing":  (0,   1),
    "auxiliary_weight": (0,   ANY),
    "clip":             (0,   ANY),
    "warmup":           (0,   ANY),
    "warmup_lr":        (0,   ANY),
    "every":            (0,   ANY),
    "plateau":          (1,   ANY),
    "patience":         (0,   ANY),
    "ema":              (0,   1),
    "thaw":             (0,   ANY),
    "workers":          (0,   ANY),
    "seed":             (0,   ANY),
}  # fmt: skip
# As the field's type says, and in the help without the word None:
Whole = Annotated[int | None, tyro.conf.arg(metavar="INT")]
Several = Annotated[tuple[float, ...] | None, tyro.conf.arg(metavar="FLOAT …")]


def _own() -> Any:
    """A default that the model's modern recipe fills in (`recipes/modern`)."""
    return field(default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One training run, whole. What is not given here is as the model's modern recipe has it."""

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
    weights: Annotated[str | None, tyro.conf.arg(metavar="WEIGHTS")] = None
    """Begin with trained weights instead: a file, a run's folder, or org/name on the Hub; where the classes are
    others, the classifier is new."""
    freeze: Annotated[str | None, tyro.conf.arg(metavar="STAGE")] = None
    """Leave the network as it is up to this stage, and with it, the averages of its batch normalisation included."""
    thaw: float = 0.0
    """Every so many epochs let one more of the frozen stages learn, from the top; 0: never."""
    layer_decay: float = 1.0
    """Each stage learns at this times the rate of the stage above it."""

    epochs: Whole = None
    """Passes over the training images; if not given, the model's own number, and up to ten times
    as many where the images are few."""
    batch_size: int = _own()
    """Images a step, over all devices."""
    accumulate: Whole = None
    """The parts, one after another, in which a device learns its share of a step; if not given, as many as its
    memory asks for. Batch normalisation sees a part at a time."""
    optimizer: Literal["sgd", "adam", "adamw"] = _own()
    """What steps."""
    lr: float = _own()
    """The learning rate at its highest."""
    lr_batch: Whole = None
    """The batch size that lr is for: at another it is changed in proportion (Goyal et al. 2017)."""
    momentum: float = 0.9
    """Of sgd."""
    nesterov: bool = True
    """Of sgd: look ahead (Sutskever et al. 2013)."""
    weight_decay: float = _own()
    """Pulls weights towards zero."""
    decay_all: bool = False
    """Decay biases and normalisation too."""
    schedule: Literal["cosine", "linear", "step", "plateau", "onecycle", "constant"] = _own()
    """How the learning rate changes, step by step."""
    warmup: float = _own()
    """Epochs in which the learning rate rises to lr; of onecycle, a share of all epochs where it is below 1."""
    warmup_lr: float = 0.0
    """Stay at this rate over the warm-up, instead of rising from nothing."""
    milestones: tuple[float, ...] = (0.5, 0.75)
    """Of step: after these shares of the run the learning rate is multiplied by gamma."""
    every: float = 0.0
    """Of step: multiply by gamma every so many epochs, instead of at milestones."""
    plateau: int = 10
    """Of plateau: after so many epochs that were no better than the best, multiply by gamma."""
    gamma: float = 0.1
    """Of step and plateau."""
    patience: int = 0
    """End the run after so many epochs that were no better than the best; 0: never."""
    ema: float = 0.0
    """Keep a moving average of the weights with this decay a step, and validate and keep it; 0: the weights as they
    are (Polyak and Juditsky 1992)."""
    label_smoothing: float = _own()
    """The share of the target that goes to all classes alike (Szegedy et al. 2016)."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: an image counts the more, the fewer its class has; all together they count as before."""
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
    resized_crop: float = 0.0
    """Cut out a random part of the image, of at least this share of it, and bring it to the size (Szegedy et al. 2014,
    Sec. 6: 0.08); 0: none."""
    policy: Literal["none", "trivial", "rand"] = "none"
    """Random operations on each image: one of any strength (TrivialAugment: Müller and Hutter 2021), or
    rand_operations of rand_magnitude (RandAugment: Cubuk et al. 2020)."""
    rand_operations: int = 2
    """Of rand: how many on each image."""
    rand_magnitude: int = 9
    """Of rand: how strong, from 0 to 30."""
    colour: float = 0.0
    """Change brightness, contrast and saturation within 1 ± this."""
    lighting: float = 0.0
    """Add the principal components of the training images' colours, by a normal draw of this deviation each
    (Krizhevsky et al. 2012, Sec. 4.1: 0.1)."""
    erase: int = 0
    """Blank a random square of this side, in pixels (cutout)."""
    erasing: float = 0.0
    """Blank a random rectangle of 2 to 33 % of the image, with this probability (Zhong et al. 2020)."""
    mixup: float = 0.0
    """Mix each image with another, and their classes, by a draw from Beta(this, this) (Zhang et al. 2018); 0: never."""
    cutmix: float = 0.0
    """Put a rectangle of another image into each, of which the share is drawn so (Yun et al. 2019); 0: never. With
    mixup too, a step draws which of them."""

    seed: int = 0
    """Every random choice follows from it."""
    precision: Literal["auto", "32", "bf16"] = _own()
    """auto: bf16 where the machine multiplies in it, or else 32 bits."""
    compile: bool = _own()
    """Compile the network where the run is long enough to pay for it (as torch.compile does; on a processor that
    takes a C++ compiler, and without AMX a small network to gain from it)."""
    channels_last: bool = True
    """Keep the channels of a pixel together in memory, which is faster."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute."""
    loading: Literal["auto", "memory", "mapped", "stream"] = "auto"
    """Where images are held: decoded in memory; as they are stored, to be decoded by workers when their turn comes; or
    read on from Parquet or WebDataset shards. auto: in memory if they fit, else mapped."""
    workers: Whole = None
    """Processes that decode what is not held in memory; if not given, one a core."""
    cache: str | None = None
    """A folder in which images are kept decoded, for runs to come and for data read many times; windows are then cut
    out of images whose shorter side is 256, or 8/7 of a larger size. None: none are kept."""
    sharded: bool = False
    """On several devices, part the weights and what the optimiser keeps among them (FSDP), for the largest networks."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", os.fspath(self.data))
        defaults = own(conform("model", self.model, str))
        for f in dataclasses.fields(self):
            if f.name in defaults and f.name != "epochs" and getattr(self, f.name) is None:
                object.__setattr__(self, f.name, defaults[f.name])
        object.__setattr__(self, "changes", {name: of_text(value) for name, value in self.changes.items()})
        for name, type_ in typing.get_type_hints(type(self)).items():
            object.__setattr__(self, name, conform(name, getattr(self, name), type_))
        for name, value in dataclasses.asdict(self).items():
            if isinstance(value, float) and not math.isfinite(value):
                raise InputError(f"{name} is a finite number, and not {value}")
            least, most = RANGES.get(name, (-math.inf, math.inf))
            if isinstance(value, int | float) and not least <= value <= most:
                limits = f"lies between {least} and {most}, and is" if most < math.inf else f"is at least {least}, and"
                raise InputError(f"{name} {limits} not {value}")
        if self.in_channels not in (None, 1, 3):
            raise InputError(f"in_channels is 1 (grey) or 3 (colour), and not {self.in_channels}")
        if not 0 < self.validation < 1:
            raise InputError(f"validation is a share between 0 and 1, and not {self.validation}")
        for name in ("lr", "layer_decay"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is above 0, and not {getattr(self, name)}")
        if self.cache == "":
            raise InputError("cache is a folder, and not empty; name it, or leave it out")
        if self.sharded and self.ema:
            raise InputError("a moving average is not kept of weights that are sharded; leave out ema or sharded")
        if self.thaw and self.freeze is None:
            raise InputError("thaw lets stages learn that freeze names, and there is no freeze")

    def differences(self, whole: "Recipe") -> str:
        """What this recipe, as far as it says anything, asks for otherwise than the `whole` one; empty: nothing."""
        pairs = {f.name: (getattr(self, f.name), getattr(whole, f.name)) for f in dataclasses.fields(self)}
        other = [
            f"{name} is {theirs!r} there, and {ours!r} here"
            for name, (ours, theirs) in pairs.items()
            if ours is not None and ours != theirs
        ]
        return "; ".join(other[:3])

    @classmethod
    def named(cls, name: str, *, model: str = "lenet", data: str = "") -> "Recipe":
        """`modern`, `paper` or `finetuning`, which are the model's own; a paper's by name, `resnet-cifar`; or a file.

        `data` chooses where a paper has several; what is trained on is a field of the recipe. Raises InputError where
        there is none, or it is none.
        """
        if name == "modern":
            return cls(model=model)
        return cls.read(locate(name, model=model, data=data), model=model if name in KINDS else None)

    @classmethod
    def read(cls, path: Path, *, model: str | None = None) -> "Recipe":
        """The recipe in a YAML file, for its model or another, whose own recipe fills in what it leaves open.

        Raises InputError for an unknown field, and lists the known ones.
        """
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"the recipe {path} cannot be read: {error.strerror}") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise InputError(f"{path} is not a YAML file: {' '.join(str(error).split())}") from error
        if not isinstance(values, dict):
            raise InputError(f"{path} is not a recipe: it has to map names to values, such as `lr: 0.1`")
        values = {name: value for name, value in values.items() if name not in NOTES}
        known = [f.name for f in dataclasses.fields(cls)]
        for name in values:
            if name not in known:
                raise InputError(
                    f"{path} has {name!r}, which a recipe does not (nearest: {nearest(str(name), known)}); "
                    f"a recipe has {', '.join(known)}"
                )
        try:
            return cls(**values | ({"model": model} if model else {}))
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

    def to_yaml(self, *, versions: Mapping[str, str]) -> str:
        """The recipe as a file has it, with the versions that it was run with."""
        values = dataclasses.asdict(self)
        for name, value in values.items():
            if isinstance(value, tuple):
                values[name] = list(value)
        return yaml.safe_dump(values | {"versions": dict(versions)}, sort_keys=False, allow_unicode=True)

    def write(self, path: Path, *, versions: Mapping[str, str]) -> None:
        """Write the recipe as YAML, with the versions that it was run with."""
        write_text(path, f"# convatlas train --recipe {path.name}\n{self.to_yaml(versions=versions)}")
