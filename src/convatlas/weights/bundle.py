"""The bundle in which a trained network travels: `model.safetensors` and `config.json`.

What a network was trained with (size, fit, channels, normalisation, class names) stands in the
configuration, so that whoever loads the weights treats an image as the training did.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from convatlas import models
from convatlas.data.images import Preparation
from convatlas.errors import InputError
from convatlas.files import write_text, writing
from convatlas.network import Network
from convatlas.weights.load import download, is_hub_name, load_weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What has to be known to use a trained network; the content of `config.json`."""

    model: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    """The fields of the model's spec that differ from the paper's."""
    classes: tuple[str, ...]
    images: Preparation

    def build(self) -> Network:
        """The network, with newly drawn weights."""
        return models.build(self.model, num_classes=len(self.classes), in_channels=self.images.size[0], **self.changes)

    def save(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        """Write `config.json` and `model.safetensors` to `folder`, each whole or not at all."""
        from safetensors.torch import save

        content = save({k: v.detach().cpu().contiguous() for k, v in weights.items()}, metadata={"format": "pt"})
        with writing(folder / "model.safetensors") as path:
            path.write_bytes(content)
        config = json.dumps(dataclasses.asdict(self), indent=2)
        write_text(folder / "config.json", config + "\n")

    @classmethod
    def read(cls, source: str | os.PathLike[str]) -> "Bundle":
        """The configuration in a run's folder, or of a name on the Hub. Raises InputError where there is none."""
        path = locate(source, "config.json")
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                model=str(values["model"]),
                changes=dict(values["changes"]),
                classes=tuple(values["classes"]),
                images=Preparation.from_config(values["images"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} is not the configuration of a trained network: {error}") from error


def load_trained(source: str | os.PathLike[str]) -> tuple[Bundle, Network]:
    """A trained network in evaluation mode and its bundle, from a run's folder or a name on the Hub.

    Raises InputError where there is none, or where its parts do not fit each other.
    """
    bundle = Bundle.read(source)
    network = load_weights(bundle.build(), locate(source, "model.safetensors"))
    return bundle, network.eval()


def fingerprint(network: nn.Module) -> str:
    """By which it is told whether a network still has the weights that something was made of."""
    words = hashlib.blake2b(digest_size=16)
    for name, tensor in network.state_dict().items():
        words.update(name.encode())
        words.update(tensor.detach().cpu().contiguous().numpy())
    return words.hexdigest()


def bundle_of(source: str) -> Bundle | None:
    """The configuration that lies beside weights, or None: a file of weights alone says nothing of images."""
    folder = Path(source).expanduser()
    beside = folder if folder.is_dir() else folder.parent
    return Bundle.read(beside) if (beside / "config.json").is_file() and (folder.is_file() or folder.is_dir()) else None


def locate(source: str | os.PathLike[str], file: str) -> Path:
    """Where `file` of a bundle lies. Raises InputError where it does not."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        if not (folder / file).is_file():
            raise InputError(f"{folder} holds no {file}, so no trained network; name the folder of a run")
        return folder / file
    if folder.exists():
        raise InputError(f"{folder} is a file; name the folder of a run")
    if is_hub_name(str(source)):
        return download(str(source), file)
    raise InputError(f"there is no run {source}; name the folder of a run, or org/name on the Hub")
