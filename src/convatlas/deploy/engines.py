"""Engines: what runs a trained network. Each takes `uint8` images as they come from the decoder and gives logits.

The normalisation is a part of what runs, so a quarter of the bytes move and no caller can forget it. A network is
prepared for batches of one size where a runtime plans its memory and its loops for that; fewer images are filled up.
"""

import contextlib
import hashlib
import io
import json
import logging
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from convatlas.data.images import Preparation
from convatlas.devices import Precision, can_compile, exact
from convatlas.errors import InputError
from convatlas.network import Network
from convatlas.weights.bundle import fingerprint

EngineName = Literal["eager", "compiled", "openvino", "int8", "onnxruntime"]
Numbers = Literal["32", "bf16", "int8"]
"""In which an engine computes."""
WORDS: dict[Numbers, str] = {"32": "float32", "bf16": "bf16", "int8": "int8"}
INT8 = ("int8.bin", "int8.xml", "int8.json")
"""The files in a run's folder that hold its network in eight bits, and what those are and were made of."""
Images = NDArray[np.uint8]
Logits = NDArray[np.float32]


class Prepared(nn.Module):
    """`uint8 (N, C, H, W) -> float32 (N, K)`: a network behind the normalisation that its weights were trained with."""

    def __init__(self, network: Network, images: Preparation) -> None:
        super().__init__()
        self.network, self.images = network, images

    def forward(self, pixels: Tensor) -> Tensor:
        """The logits."""
        answer: Tensor = self.network(self.images.normalize(pixels))
        return answer.float()


class Engine(ABC):
    """A network that is ready to run, in batches of up to `batch_size` images of one size.

    In the `folder` may lie what was made for it before. Raises InputError where it lacks what it needs, or where its
    runtime fails, be it later in a call.
    """

    name: ClassVar[EngineName]
    needs: ClassVar[tuple[str, ...]] = ()
    """The packages without which it cannot be."""
    devices: ClassVar[tuple[str, ...]] = ("cpu",)
    precisions: ClassVar[tuple[Numbers, ...]] = ("32", "bf16")
    planned: ClassVar[bool] = True
    """Whether it is prepared for batches of one size."""

    def __init__(
        self,
        network: Network,
        images: Preparation,
        *,
        batch_size: int,
        device: str = "cpu",
        precision: Numbers = "32",
        folder: Path | None = None,
    ) -> None:
        self.batch_size, self.device, self.precision, self.folder = batch_size, device, precision, folder
        self.size, self.takes = images.size, network.name
        if reason := self.lacks(device, precision):
            raise InputError(f"the engine {self.name} cannot be used: {reason}")
        with self.explained():
            self.prepare(Prepared(network, images).eval())

    def __call__(self, images: Images) -> Logits:
        """`uint8 (N, C, H, W) -> float32 (N, K)`, for any N from 1."""
        missing = -len(images) % self.batch_size if self.planned else 0
        if missing:
            images = np.concatenate((images, np.zeros((missing, *self.size), np.uint8)))
        with self.explained():
            answers = [self.run(images[i : i + self.batch_size]) for i in range(0, len(images), self.batch_size)]
        return np.concatenate(answers)[: len(images) - missing]

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Turn whatever a runtime raises into an InputError."""
        try:
            yield
        except InputError:
            raise
        except Exception as error:
            why = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise InputError(f"the engine {self.name} cannot be used: it does not take {self.takes} ({why})") from error

    @classmethod
    def lacks(cls, device: str, precision: Numbers) -> str | None:
        """Why it cannot be used there, in words, or None."""
        if absent := [package for package in cls.needs if find_spec(package) is None]:
            return f"{', '.join(absent)} cannot be found; pip install 'convatlas[{cls.name}]'"
        if device not in cls.devices:
            return f"it does not compute on {device}"
        return None if precision in cls.precisions else f"it does not compute in {precision}"

    @abstractmethod
    def prepare(self, network: Prepared) -> None:
        """Make what `run` calls."""

    @abstractmethod
    def run(self, images: Images) -> Logits:
        """`uint8 (batch_size, C, H, W) -> float32 (batch_size, K)`."""

    @property
    def example(self) -> Tensor:
        """A batch of black images."""
        return torch.zeros(self.batch_size, *self.size, dtype=torch.uint8)


class Eager(Engine):
    """PyTorch as it is: what the network does is what its file says."""

    name: ClassVar[EngineName] = "eager"
    devices: ClassVar[tuple[str, ...]] = ("cpu", "cuda", "mps")
    planned = False

    def prepare(self, network: Prepared) -> None:
        """The network itself."""
        self.network: Callable[[Tensor], Tensor]
        self.network = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.no_grad()
    def run(self, images: Images) -> Logits:
        """The logits of a batch."""
        pixels = torch.from_numpy(images).to(self.device).contiguous(memory_format=torch.channels_last)
        with exact() if self.precision == "32" else torch.autocast(self.device, torch.bfloat16):
            logits: Logits = self.network(pixels).cpu().numpy()
        return logits


class Compiled(Eager):
    """torch.compile with weights frozen: batch normalisation folded, layouts chosen once, elementwise work fused."""

    name = "compiled"
    devices = ("cpu", "cuda")
    planned = True

    @classmethod
    def lacks(cls, device: str, precision: Numbers) -> str | None:
        """Besides, a compiler."""
        compiler = None if can_compile(device) else "torch finds no compiler here (on Linux: g++, and Python's headers)"
        return super().lacks(device, precision) or compiler

    def prepare(self, network: Prepared) -> None:
        """Compile by a first batch."""
        super().prepare(network)
        # Or else torch goes on uncompiled when it has compiled the same class some times.
        options: dict[str, Any] = {"dynamic": False, "isolate_recompiles": True}
        self.network = torch.compile(self.network, options={"freezing": True}, **options)
        self.run(self.example.numpy())


class OpenVINO(Engine):
    """Intel's runtime for processors."""

    name: ClassVar[EngineName] = "openvino"
    needs = ("openvino",)

    def prepare(self, network: Prepared) -> None:
        """Compile for the batch."""
        import openvino

        hints = {"PERFORMANCE_HINT": "LATENCY"}
        if self.precision != "int8":
            hints["INFERENCE_PRECISION_HINT"] = {"32": "f32", "bf16": "bf16"}[self.precision]
        self.compiled = openvino.Core().compile_model(self.model(network), "CPU", hints)

    def model(self, network: Prepared) -> Any:
        """The network, converted."""
        import openvino

        with quiet():
            return openvino.convert_model(network, example_input=self.example, input=[self.example.shape])

    def run(self, images: Images) -> Logits:
        """The logits of a batch."""
        logits: Logits = self.compiled(images)[0]
        return logits


class EightBits(OpenVINO):
    """OpenVINO with whole numbers of eight bits for weights and activations, made by `quantizing`."""

    name = "int8"
    precisions = ("int8",)

    def model(self, network: Prepared) -> Any:
        """What was made and checked before, of the same weights."""
        import openvino

        anew = "convatlas bench RUN --int8 does it"
        if self.folder is None or not (self.folder / INT8[-1]).is_file():
            raise InputError(f"the engine int8 cannot be used: nothing was calibrated; {anew}")
        weights, graph, about = (self.folder / file for file in INT8)
        try:
            made_of = json.loads(about.read_text(encoding="utf-8"))
            damaged = [file for file in (weights, graph) if made_of[file.name] != digest_of(file)]
        except (OSError, ValueError, LookupError, TypeError):
            damaged = [about]
        if damaged:
            raise InputError(f"{damaged[0]} is damaged, or of another making than {about.name}; {anew} anew")
        if made_of["weights"] != fingerprint(network.network):
            raise InputError(
                f"the engine int8 cannot be used: the run has other weights by now than were calibrated; {anew} anew"
            )
        model = openvino.Core().read_model(graph, weights)
        model.reshape([self.batch_size, *self.size])
        return model


class ONNXRuntime(Engine):
    """Microsoft's runtime, by way of ONNX; in float32."""

    name = "onnxruntime"
    needs = ("onnx", "onnxscript", "onnxruntime")
    precisions = ("32",)

    def prepare(self, network: Prepared) -> None:
        """Export, and open what was exported."""
        import onnxruntime

        with quiet():
            program = torch.onnx.export(network, (self.example,), dynamo=True)
        assert program is not None
        options = onnxruntime.SessionOptions()
        # Or else its threads go on asking for work when a batch is done, and take the cores from whoever comes next.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        self.session = onnxruntime.InferenceSession(
            program.model_proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def run(self, images: Images) -> Logits:
        """The logits of a batch."""
        (logits,) = self.session.run(None, {self.session.get_inputs()[0].name: images})
        answer: Logits = logits
        return answer


ENGINES: tuple[type[Engine], ...] = (Eager, Compiled, OpenVINO, EightBits, ONNXRuntime)


def digest_of(file: Path) -> str:
    """By which damage to a file is told. Raises OSError for a missing one."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, partial(hashlib.blake2b, digest_size=16)).hexdigest()


def engine(name: EngineName) -> type[Engine]:
    """The engine of that name. Raises InputError where there is none."""
    names = {each.name: each for each in ENGINES}
    if name not in names:
        raise InputError(f"there is no engine {name}; choose {', '.join(names)}")
    return names[name]


def numbers_of(name: EngineName, precision: Precision) -> Numbers:
    """In which an engine computes that is asked for a precision. Raises InputError where it has its own."""
    if name != "int8":
        return precision
    if precision != "32":
        raise InputError("int8 computes in eight bits; leave out --precision")
    return "int8"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Converters warn of themselves and print what they do."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
