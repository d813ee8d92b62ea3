"""What a trained network travels with."""

import json
from pathlib import Path

import pytest
import torch

from convatlas.data import Preparation
from convatlas.errors import InputError
from convatlas.weights.bundle import Bundle, load_trained

BUNDLE = Bundle(
    model="resnet20",
    changes={"shortcut": "B"},
    classes=("Ameise", "Biene", "蜂"),
    images=Preparation(size=(1, 40, 40), fit="pad", mean=(0.5,), std=(0.25,)),
)


def test_a_bundle_comes_back_as_it_went(tmp_path: Path) -> None:
    network = BUNDLE.build().eval()
    BUNDLE.save(tmp_path, network.state_dict())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    bundle, loaded = load_trained(tmp_path)
    assert bundle == BUNDLE
    x = torch.randn(2, 1, 40, 40)
    with torch.no_grad():
        assert torch.equal(loaded(x), network(x))


@pytest.mark.parametrize(
    "change", ["{", "[]", {"classes": None}, {"images": {}}, {"model": None}, {"images": {"size": [1, 2]}}]
)
def test_a_faulty_configuration_is_named(tmp_path: Path, change: object) -> None:
    BUNDLE.save(tmp_path, BUNDLE.build().state_dict())
    path = tmp_path / "config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | change) if isinstance(change, dict) else str(change), encoding="utf-8")
    with pytest.raises(InputError):
        load_trained(tmp_path)


def test_a_folder_without_a_network_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no config\.json, so no trained network; name the folder of a run"):
        load_trained(tmp_path)
    with pytest.raises(InputError, match="there is no run"):
        load_trained(tmp_path / "nothing")
