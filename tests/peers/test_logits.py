"""With a peer's weights, our networks give the peer's logits, of torchvision and of timm."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

from convatlas.models import build
from convatlas.weights import load_weights

TOLERANCE = 2e-5  # of the largest logit; the fixtures' README says what it catches

OURS: dict[str, str] = {
    # the peer's                 ours
    "torchvision/googlenet": "googlenet_tv",
}


@pytest.fixture(scope="session")
def fill(shared_peers: Path) -> ModuleType:
    """The module beside the fixtures, which draws each tensor from its name."""
    spec = importlib.util.spec_from_file_location("fill", shared_peers / "fill.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("peer", OURS)
def test_ours_answers_as_the_peer_with_the_peers_weights(fill: ModuleType, shared_peers: Path, peer: str) -> None:
    fixture = fill.load_fixture(str(shared_peers / f"{peer}.json"))
    network = load_weights(build(OURS[peer]), fill.peer_state_dict(fixture)).eval()
    with torch.no_grad():
        assert fill.logits_error(fixture, network(fill.peer_input(fixture["input_shape"]))) < TOLERANCE
