"""Reading weights without executing anything, and fitting them to a network."""

import logging
import os
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from convatlas.errors import InputError
from convatlas.network import Network
from convatlas.weights.layouts import TORCHVISION
from convatlas.weights.names import looks_like, mould, to_ours
from convatlas.wording import nearest, shown

Source = str | os.PathLike[str] | Mapping[str, Tensor]

ENDINGS = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".pkl", ".tar", ".th", ".t7", ".h5", ".npz", ".onnx")
"""How files of weights end; other dots may be in a name on the Hub, such as timm/resnet50.a1_in1k."""

LOG = logging.getLogger(__name__)

WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "params")
"""Under these keys training scripts keep the state dict among other things."""
PREFIXES = ("module.", "_orig_mod.", "model.", "network.", "net.", "backbone.", "encoder.", "ema_model.", "ema.")
"""What DataParallel, torch.compile and wrapping classes put before every key."""


def load_weights(network: Network, source: Source, *, new_head: bool = False, adapt_input: bool = False) -> Network:
    """Fill `network` with the weights of `source`, and return it.

    `source` is a safetensors file, a `torch.save` file of a state dict (read with `weights_only`, so that
    nothing in it is executed), a run's folder, a name on the Hugging Face Hub, `torchvision/NAME`, or a mapping.
    Wrappers such as `module.` are stripped, and names of other libraries are mapped to ours. Auxiliary classifiers
    that the network does without are left out, which is said on the log.

    With `new_head` a classifier for another number of classes stays as it was drawn; with `adapt_input` a first
    layer for another number of channels is adapted (`to_channels`). Either is said on the log, where it happens.

    Raises InputError, and leaves the network as it was, where the weights are of another network or another form of
    it, which is named, or where a key is missing, unexpected or of another shape. Counters of batches, which old files
    lack, may be missing.
    """
    label = "the given mapping" if isinstance(source, Mapping) else str(source)
    given = read_state(source)
    state = to_ours(given, network)
    ours = network.state_dict()
    auxiliary = [key for key in state if key.startswith("auxiliary.")] if network.auxiliary is None else []
    for key in auxiliary:
        del state[key]
    said = [f"left out, with the auxiliary classifiers: {shown(auxiliary, 3)}"] if auxiliary else []
    head, first = other_head(network, state, ours), other_first_layer(state, ours)
    if new_head and head:
        said.append(f"a new classifier for {network.num_classes} classes: {shown(head, 3)}")
        state |= {key: ours[key] for key in head}
    if adapt_input and first:
        channels = ours[first].shape[1]
        said.append(f"{first} adapted from {state[first].shape[1]} channels to {channels}")
        state[first] = to_channels(state[first], channels)
    if faults := faults_of(state, ours):
        like = None if mould(network).fits(state) else looks_like(given, near=network.name)
        reason = faults if like is None else f"they look like those of {like}{like.differences(network)}"
        absent = {"new_head=True": head and not new_head, "adapt_input=True": first and not adapt_input}
        options = [option for option, helps in absent.items() if helps and like is None]
        mends = f"; {' and '.join(options)} would take them all the same" if options else ""
        raise InputError(f"the weights of {label} do not fit {network.name}: {reason}{mends}")
    for sentence in said:
        LOG.warning(sentence)
    network.load_state_dict({k: state.get(k, v) for k, v in ours.items()})
    return network


def faults_of(state: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> str:
    """Which keys are missing, unexpected or of another shape, three of them by name; empty where none is."""
    missing = [k for k in ours if k not in state and not k.endswith("num_batches_tracked")]
    unexpected = [k for k in state if k not in ours]
    shaped = [
        f"{k} is {shape(state[k])} and not {shape(ours[k])}"
        for k in ours
        if k in state and state[k].shape != ours[k].shape
    ]
    faults = {"missing": missing, "unexpected": unexpected, "of another shape": shaped}
    kinds = {what: keys for what, keys in faults.items() if keys}
    return "; ".join(f"{what}: {shown(keys, 3 // len(kinds))}" for what, keys in kinds.items())


def other_head(network: Network, state: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> list[str]:
    """The tensors of classifiers that are of another shape than ours."""
    heads = (network.stages[-1] + ".", "auxiliary.")
    return [k for k in ours if k.startswith(heads) and k in state and state[k].shape != ours[k].shape]


def other_first_layer(state: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> str | None:
    """The kernels of the first layer, where they are for another number of channels than ours."""
    first = next((key for key, value in ours.items() if value.ndim == 4), "")
    given = state.get(first)
    return first if given is not None and given.ndim == 4 and given.shape[1] != ours[first].shape[1] else None


def to_channels(kernels: Tensor, channels: int) -> Tensor:
    """`(K, C, H, W) -> (K, channels, H, W)`: the kernels of the channels in turn, times C / channels.

    To one channel they are added up. So an image whose channels are all alike gets the same answer as before,
    where the channels come to whole turns; elsewhere the sum of the kernels keeps its scale.
    """
    given = kernels.shape[1]
    if channels == 1:
        return kernels.sum(1, keepdim=True)
    turns = [channel % given for channel in range(channels)]
    return kernels[:, turns] * (given / channels)


def read_state(source: Source) -> dict[str, Tensor]:
    """The tensors of `source` by name, without wrappers, on the CPU. Raises InputError where there are none."""
    if isinstance(source, Mapping):
        return unwrapped(source, "the given mapping")
    if not isinstance(source, str | os.PathLike):
        raise InputError(f"weights are a path, a name or a mapping from names to tensors, and not {source!r}")
    path = find_file(source)
    return unwrapped(read_file(path), str(path))


def find_file(source: str | os.PathLike[str]) -> Path:
    """The file of weights that `source` means: itself, a run's model.safetensors, torchvision's or the Hub's.

    Raises InputError where there is none, or where it cannot be had.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        path = path / "model.safetensors"
        if not path.is_file():
            raise InputError(f"{source} holds no model.safetensors; name a run's folder or a file of weights")
    if path.is_file():
        return path
    name = str(source)
    if name.startswith("torchvision/"):
        return download_torchvision(name.removeprefix("torchvision/"))
    if is_hub_name(name) and path.suffix not in ENDINGS:
        return download(name, "model.safetensors", "pytorch_model.bin")
    raise InputError(f"there is no file {source}; name a file of weights, a run's folder or org/name on the Hub")


def is_hub_name(name: str) -> bool:
    """Whether a name that is no path could be org/name on the Hub: not where a folder `org` lies here."""
    return name.count("/") == 1 and not name.startswith((".", "/", "~")) and not Path(name).parent.is_dir()


def download(name: str, *files: str) -> Path:
    """The first of the files that the Hub's repository holds, from the cache where it is there.

    Raises InputError where none can be had, with where a copy would be found.
    """
    import huggingface_hub
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    huggingface_hub.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # of each retry it would warn
    error: Exception | None = None
    for file in files:
        unreachable = isinstance(error, LocalEntryNotFoundError)  # and so not waited for again
        try:
            return Path(huggingface_hub.hf_hub_download(name, file, local_files_only=unreachable))
        except EntryNotFoundError as absent:
            error = error if unreachable else absent  # and the next file may be there
        except (HfHubHTTPError, OSError, ValueError) as failure:
            error = failure
            break
    folder = Path(HF_HUB_CACHE) / f"models--{name.replace('/', '--')}"
    reason = " ".join(str(error).split()).partition(". ")[0][:200]
    raise InputError(
        f"{name} is no path here, and its {' or '.join(files)} cannot be had from the Hub ({reason}); "
        f"name a file that you have, or put the Hub's cache of it into {folder}"
    ) from error


def download_torchvision(name: str) -> Path:
    """torchvision's file of its first weights for that network, from torch's cache where it is there.

    Raises InputError for a name without weights, and where the file cannot be had.
    """
    if name not in TORCHVISION:
        raise InputError(f"torchvision has no weights {name!r}; the nearest: {nearest(name, tuple(TORCHVISION))}")
    file = f"{TORCHVISION[name]}.pth"
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    if not (cache / file).is_file():
        cache.mkdir(parents=True, exist_ok=True)
        url = f"https://download.pytorch.org/models/{file}"
        try:
            torch.hub.download_url_to_file(url, str(cache / file), hash_prefix=file.rpartition("-")[2].split(".")[0])
        except (OSError, RuntimeError) as error:
            raise InputError(f"{url} cannot be had ({first_line(error)}); put the file into {cache}") from error
    return cache / file


def read_file(path: Path) -> Any:
    """What the file holds, of either kind, which its first bytes tell. Raises InputError where they are of neither."""
    with path.open("rb") as file:
        head = file.read(9)
    if path.suffix == ".safetensors" or head[8:] == b"{":  # after the length of its header, which is JSON
        return read_safetensors(path)
    if head.startswith((b"PK", b"\x80")):  # a zip archive, or a pickle as before torch 1.6
        return read_torch(path)
    raise InputError(f"{path} holds no weights, as safetensors or torch.save write them; name a file that does")


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises InputError where it is none."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is not a safetensors file or is damaged: {error}") from error


def read_torch(path: Path) -> Any:
    """What `torch.save` wrote. Raises InputError unless it is made of tensors and plain values alone."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old pickle protocols, which are read all the same
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # A damaged file can make the unpickler stumble in any way; this is the one in which it refuses.
        if isinstance(error, pickle.UnpicklingError):
            raise InputError(
                f"{path} is not a state dict of tensors alone, and whatever else is pickled may run code: it is "
                "refused; save the state dict by itself, best as safetensors"
            ) from error
        raise InputError(f"{path} is not a file of weights or is damaged: {first_line(error)}") from error


def unwrapped(state: Any, label: str) -> dict[str, Tensor]:
    """The state dict inside of training scripts' dictionaries, without the prefixes of wrapping modules.

    Raises InputError where there is none; `label` says of what.
    """
    while isinstance(state, Mapping):
        inner = next((state[key] for key in WRAPPERS if isinstance(state.get(key), Mapping)), None)
        if inner is None:
            break
        state = inner
    is_state = isinstance(state, Mapping) and all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()
    )
    if not is_state or not state:
        raise InputError(f"{label} holds no state dict: a mapping from names to tensors is expected")
    while prefix := next((p for p in PREFIXES if all(key.startswith(p) for key in state)), None):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return dict(state)


def shape(tensor: Tensor) -> str:
    """`64×3×7×7`."""
    return "×".join(map(str, tensor.shape)) or "a scalar"


def first_line(error: Exception) -> str:
    """The first line of what an error says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
