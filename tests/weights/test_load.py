"""Weights from elsewhere: fitted by name, refused by name, and never executed."""

import json
import pickle
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from safetensors.torch import save_file

from convatlas import create_model, load_weights
from convatlas.errors import InputError
from convatlas.weights import read_state


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return create_model("resnet20").state_dict()


def same(network: torch.nn.Module, state: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize("wrap", ["state_dict", "model", "net"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_wrappers_are_taken_off(tmp_path: Path, state: dict[str, torch.Tensor], wrap: str, prefix: str) -> None:
    wrapped = {wrap: {prefix + key: value for key, value in state.items()}, "epoch": torch.tensor(3), "best": 91.2}
    torch.save(wrapped, tmp_path / "weights.pth")
    assert same(load_weights(create_model("resnet20"), tmp_path / "weights.pth"), state)


def test_safetensors_mappings_and_folders_are_read(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    save_file(state, tmp_path / "model.safetensors")
    for source in (tmp_path / "model.safetensors", tmp_path, state):
        assert same(create_model("resnet20", weights=source), state)


def test_files_older_than_the_counters_of_batches_are_read(state: dict[str, torch.Tensor]) -> None:
    old = {key: value for key, value in state.items() if "num_batches_tracked" not in key}
    assert same(load_weights(create_model("resnet20"), old), state)


def test_names_of_other_code_are_mapped_for_both_options(state: dict[str, torch.Tensor]) -> None:
    def theirs(key: str) -> str:
        names = {"conv1.conv": "conv1", "conv1.bn": "bn1", "fc": "linear"}
        for ours, other in (names | {f"conv{i + 1}_x": f"layer{i}" for i in (1, 2, 3)}).items():
            if key.startswith(ours):
                return (
                    (other + key.removeprefix(ours))
                    .replace("shortcut.conv.", "shortcut.0.")
                    .replace("shortcut.bn.", "shortcut.1.")
                )
        return key

    assert same(load_weights(create_model("resnet20"), {theirs(k): v for k, v in state.items()}), state)
    with_b = create_model("resnet20", shortcut="B").state_dict()
    network = load_weights(create_model("resnet20", shortcut="B"), {theirs(k): v for k, v in with_b.items()})
    assert same(network, with_b)


def test_missing_unexpected_and_misshaped_keys_are_named_and_nothing_is_changed(state: dict[str, torch.Tensor]) -> None:
    network = create_model("resnet20")
    before = {key: value.clone() for key, value in network.state_dict().items()}
    faulty = {**state, "fc.weight": torch.zeros(100, 64), "extra": torch.zeros(1)}
    del faulty["conv1.conv.weight"]
    with pytest.raises(InputError) as error:
        load_weights(network, faulty)
    assert "do not fit resnet20" in str(error.value)
    assert "missing: conv1.conv.weight" in str(error.value)
    assert "unexpected: extra" in str(error.value)
    assert "fc.weight is 100×64 and not 10×64" in str(error.value)
    assert same(network, before)


def test_a_pickle_that_would_run_code_is_refused_and_runs_none(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "harmed",))

    torch.save({"state_dict": Harm()}, tmp_path / "new.pt")
    (tmp_path / "old.pt").write_bytes(pickle.dumps(Harm()))
    for name in ("new.pt", "old.pt"):
        with pytest.raises(
            InputError, match=f"{name} is not a state dict of tensors alone, .* may run code: it is refused"
        ):
            read_state(tmp_path / name)
    assert not (tmp_path / "harmed").exists()


def test_what_is_no_file_of_weights_is_named(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    torch.save(state, tmp_path / "whole.pt")
    save_file(state, tmp_path / "whole.safetensors")
    contents = {
        "text.safetensors": b"no weights at all", "empty.safetensors": b"",
        "cut.pt": (tmp_path / "whole.pt").read_bytes()[:5000],
        "cut.safetensors": (tmp_path / "whole.safetensors").read_bytes()[:-100],
    }  # fmt: skip
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name} is not a"):
            read_state(tmp_path / name)
    for name, content in {"mine.yaml": b"model: resnet20\n", "empty.pt": b"", "photo.jpg": b"\xff\xd8"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name} holds no weights, as safetensors or torch.save write them"):
            read_state(tmp_path / name)
    for content in ([1, 2], {0: torch.zeros(1)}):
        torch.save(content, tmp_path / "list.pt")
        with pytest.raises(InputError, match=r"list\.pt holds no state dict"):
            read_state(tmp_path / "list.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(InputError, match=r"list\.pt holds no state dict"):
        read_state(tmp_path / "list.pt")
    with pytest.raises(InputError, match="there is no file"):
        read_state(tmp_path / "nothing.pt")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"holds no model\.safetensors"):
        read_state(tmp_path / "folder")


def test_the_kind_of_a_file_is_told_by_what_it_holds(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    save_file(state, tmp_path / "named.bin")
    torch.save(state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    for name in ("named.bin", "old.pt"):
        assert all(torch.equal(value, state[key]) for key, value in read_state(tmp_path / name).items())


def test_a_new_head_is_drawn_where_the_classes_are_others_and_said(
    state: dict[str, torch.Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    network = create_model("resnet20", num_classes=7)
    drawn = network.fc.weight.clone()  # type: ignore[union-attr, operator]
    with pytest.raises(InputError, match=r"fc.weight is 10×64 and not 7×64"):
        load_weights(network, state)
    load_weights(network, state, new_head=True)
    assert torch.equal(network.fc.weight, drawn)  # type: ignore[arg-type]
    assert torch.equal(network.state_dict()["conv1.conv.weight"], state["conv1.conv.weight"])
    assert "a new classifier for 7 classes: fc.weight, fc.bias" in caplog.text
    caplog.clear()
    fitting = load_weights(create_model("resnet20"), state, new_head=True)
    assert torch.equal(fitting.state_dict()["fc.weight"], state["fc.weight"])
    assert not caplog.text


@pytest.mark.parametrize("channels", [1, 3, 6])
def test_a_first_layer_for_other_channels_answers_as_before_to_images_whose_channels_are_alike(
    state: dict[str, torch.Tensor], channels: int
) -> None:
    network = load_weights(create_model("resnet20", in_channels=channels), state, adapt_input=True).eval()
    before = load_weights(create_model("resnet20"), state).eval()
    grey = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(network(grey.expand(-1, channels, -1, -1)), before(grey.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize("channels", [2, 4])
def test_where_channels_come_to_no_whole_turns_each_is_seen_by_the_kernels_of_its_turn_at_the_same_scale(
    state: dict[str, torch.Tensor], channels: int
) -> None:
    network = load_weights(create_model("resnet20", in_channels=channels), state, adapt_input=True)
    red, green, blue = state["conv1.conv.weight"].unbind(1)
    turns = {2: (red * 3 / 2, green * 3 / 2), 4: (red * 3 / 4, green * 3 / 4, blue * 3 / 4, red * 3 / 4)}
    torch.testing.assert_close(network.state_dict()["conv1.conv.weight"], torch.stack(turns[channels], dim=1))


def test_weights_of_another_network_are_refused_with_its_name(state: dict[str, torch.Tensor]) -> None:
    with pytest.raises(InputError, match=r"do not fit resnet32: they look like those of resnet20$"):
        load_weights(create_model("resnet32"), state)
    with pytest.raises(
        InputError, match=r"do not fit resnet20: they .* of resnet20, with n=3 and not 5, .*='A' and not 'B'$"
    ):
        load_weights(create_model("resnet20", n=5, shortcut="B"), state)


def test_weights_that_cannot_be_downloaded_say_what_was_sought_and_where_to_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("the network is unreachable")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    with pytest.raises(
        InputError, match=rf"resnet18-f37072fd.pth cannot be had .*unreachable.*; put the file into {tmp_path}"
    ):
        load_weights(create_model("resnet20"), "torchvision/resnet18")
    with pytest.raises(InputError, match="torchvision has no weights 'resnet19'; the nearest: resnet1"):
        load_weights(create_model("resnet20"), "torchvision/resnet19")


class Hub:
    """The Hub as far as `hf_hub_download` tells: which files a repository holds."""

    def __init__(self, *files: Path) -> None:
        self.files = {file.name: file for file in files}
        self.asked: list[tuple[str, str]] = []

    def hf_hub_download(self, name: str, file: str, *, local_files_only: bool) -> str:
        assert not local_files_only
        self.asked.append((name, file))
        if file not in self.files:
            raise EntryNotFoundError(f"404: {name} has no {file}")
        return str(self.files[file])


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_a_repository_of_the_hub_may_have_a_dot_in_its_name_and_either_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: dict[str, torch.Tensor], file: str
) -> None:
    if file.endswith(".bin"):
        torch.save(state, tmp_path / file)
    else:
        save_file(state, tmp_path / file)
    hub = Hub(tmp_path / file)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hub.hf_hub_download)
    assert same(create_model("resnet20", weights="timm/resnet20.a1_in1k"), state)
    assert hub.asked[-1] == ("timm/resnet20.a1_in1k", file)


def test_timms_repositories_are_read_under_timms_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared_peers: Path
) -> None:
    keys = json.loads((shared_peers / "timm" / "resnet18.json").read_text(encoding="utf-8"))["state"]
    theirs = {key: torch.full(shape, i) for i, (key, shape) in enumerate(keys)}
    save_file(theirs, tmp_path / "model.safetensors")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", Hub(tmp_path / "model.safetensors").hf_hub_download)
    ours = create_model("resnet18", weights="timm/resnet18.a1_in1k").state_dict()
    assert torch.equal(ours["conv3_x.0.shortcut.conv.weight"], theirs["layer2.0.downsample.0.weight"].float())


def test_a_repository_that_cannot_be_had_says_what_was_sought_and_where_to_put_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(
        InputError,
        match=r"^timm/resnet50\.a1_in1k is no path here, and its model\.safetensors or pytorch_model\.bin cannot be "
        r"had from the Hub \(.*\); name a file that you have, or put the Hub's cache of it into "
        r".*models--timm--resnet50\.a1_in1k$",
    ):
        create_model("resnet18", weights="timm/resnet50.a1_in1k")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", Hub().hf_hub_download)
    with pytest.raises(
        InputError, match=r"model\.safetensors or pytorch_model\.bin cannot be had .* has no pytorch_mod"
    ):
        create_model("resnet18", weights="timm/resnet50")


def test_a_hub_that_cannot_be_reached_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[bool] = []

    def unreachable(*_: str, local_files_only: bool) -> str:
        waited.append(not local_files_only)
        raise LocalEntryNotFoundError("the Hub is unreachable. Is there a network?")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)
    with pytest.raises(InputError, match=r"cannot be had from the Hub \(the Hub is unreachable\); name a file"):
        create_model("resnet18", weights="timm/resnet18.a1_in1k")
    assert waited == [True, False]


@pytest.mark.parametrize(
    "name", ["weights/best.pth", "weights/best.safetensors", "weights/model.ckpt", "a/b/c", "best"]
)
def test_what_ends_like_a_file_or_is_no_name_of_the_hub_is_not_sought_there(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    hub = Hub()
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hub.hf_hub_download)
    with pytest.raises(InputError, match=f"there is no file {name}"):
        create_model("resnet20", weights=name)
    assert not hub.asked
