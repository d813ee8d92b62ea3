"""Eight bits: a network whose weights and activations are whole numbers, made by NNCF for OpenVINO and checked."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from convatlas.data.images import Preparation
from convatlas.deploy.engines import INT8, Images, Prepared, digest_of, engine, quiet
from convatlas.errors import InputError, WorkError
from convatlas.files import write_text, writing
from convatlas.network import Network
from convatlas.weights.bundle import fingerprint

CALIBRATED_ON = 300
"""Images from which the ranges of activations are taken; more change little (NNCF's own default)."""
BATCH = 16
"""Images at once, where the two are compared."""


class Checked(NamedTuple):
    """How a network in eight bits names images that it was not calibrated on."""

    calibrated_on: int
    checked_on: int
    right: int
    right_in_float32: int
    commonest: int
    """How many of those are of the commonest class, and would be named rightly by saying that of all."""

    @property
    def loss(self) -> float:
        """Of accuracy, in points."""
        return 100 * (self.right_in_float32 - self.right) / self.checked_on


def quantize(
    network: Network,
    images: Preparation,
    pixels: Images,
    labels: NDArray[np.int64],
    folder: Path,
    *,
    most_loss: float,
) -> Checked:
    """Write the network in eight bits to the run's folder, if it loses at most so many points of accuracy.

    Ranges are taken from a third of the images, `uint8 (N, C, H, W)`, or 300 of them; accuracies are compared on the
    others. Raises InputError where packages or images are missing, and WorkError where the loss is greater: then there
    are no eight bits any more.
    """
    if find_spec("nncf") is None or find_spec("openvino") is None:
        raise InputError("eight bits need openvino and nncf; pip install 'convatlas[int8]'")
    count = min(CALIBRATED_ON, len(pixels) // 3)
    if not count:
        raise InputError(f"{len(pixels)} images are too few to calibrate on some and check on others")
    chosen = np.zeros(len(pixels), bool)
    chosen[np.linspace(0, len(pixels) - 1, count).astype(np.int64)] = True
    with TemporaryDirectory() as made:
        write_eight_bits(network, images, pixels[chosen], Path(made))
        others, expected = pixels[~chosen], labels[~chosen]
        eager = engine("eager")(network, images, batch_size=BATCH)
        eight = engine("int8")(network, images, batch_size=BATCH, precision="int8", folder=Path(made))
        right, before = (int((each(others).argmax(1) == expected).sum()) for each in (eight, eager))
        checked = Checked(
            calibrated_on=count, checked_on=len(others), right=right, right_in_float32=before,
            commonest=int(np.bincount(expected).max()),
        )  # fmt: skip
        if checked.loss > most_loss:
            for name in INT8:  # what was accepted before was of other images, or by another bound
                (folder / name).unlink(missing_ok=True)
            raise WorkError(
                f"in eight bits {right:,} of {len(others):,} images are named rightly, and {before:,} in float32: "
                f"{checked.loss:.2f} points less, of which --most-loss allows {most_loss:g}; it is not used"
            )
        for name in INT8:
            with writing(folder / name) as path:
                shutil.copyfile(Path(made, name), path)
    return checked


def write_eight_bits(network: Network, images: Preparation, pixels: Images, folder: Path) -> None:
    """Calibrate the network on these images, and write what comes of it: OpenVINO's two files, and what they are."""
    import nncf
    import openvino

    example = torch.zeros(1, *images.size, dtype=torch.uint8)
    with quiet():
        model = openvino.convert_model(
            Prepared(network, images).eval(), example_input=example, input=[openvino.PartialShape([-1, *images.size])]
        )
        calibration = nncf.Dataset([image[None] for image in pixels])
        eight = nncf.quantize(model, calibration, subset_size=len(pixels))
        openvino.save_model(eight, folder / INT8[1], compress_to_fp16=False)
    about = {name: digest_of(folder / name) for name in INT8[:2]} | {"weights": fingerprint(network)}
    write_text(folder / INT8[2], json.dumps(about, indent=2) + "\n")
