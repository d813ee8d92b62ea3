"""Layouts of keys, and what tells one form of a network from another."""

import dataclasses
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import torch

from convatlas.models import build, list_models, model_card
from convatlas.weights.layouts import LAYOUTS, TORCHVISION
from convatlas.weights.names import FORM

ANSWERS_ALIKE = ("dropout", "saving", "init", "bias", "gate_bias", "size")
"""The fields that matter in training alone, or to what images are taken, and not to the answer."""


def others(field: str, kind: Any, value: Any) -> list[Any]:
    """Other values than `value` that a field might have."""
    if get_origin(kind) is Literal:
        return [other for other in get_args(kind) if other != value]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, float):
        return [0.5 if value != 0.5 else 0.25]
    if isinstance(value, int):
        return [other for other in (value + 1, 2 * value, value // 2) if other not in (0, value)]
    return [0.5] if field == "survival" else []


def shapes_of(name: str, **changes: Any) -> dict[str, torch.Size]:
    with torch.device("meta"):
        return {key: tensor.shape for key, tensor in build(name, **changes).state_dict().items()}


# the first network of each kind of spec that a layout has names for
KINDS = {type(model_card(name).spec): name for layout in reversed(LAYOUTS) for name in reversed(layout.names())}


@pytest.mark.parametrize("name", [*KINDS.values(), "resnet50", "resnext29_8x64d"])
def test_a_field_that_shapes_do_not_tell_is_of_the_form_or_does_not_change_the_answer(name: str) -> None:
    spec, shapes = model_card(name).spec, shapes_of(name)
    hints = get_type_hints(type(spec))
    for field in dataclasses.fields(spec):
        if field.name in (*FORM, *ANSWERS_ALIKE):
            continue
        for value in others(field.name, hints[field.name], getattr(spec, field.name)):
            try:
                changed = shapes_of(name, **{field.name: value})
            except ValueError:
                continue  # not a value that there can be
            assert changed != shapes, f"{field.name}={value!r} of {name} leaves every shape as it is"


def test_every_layout_names_a_network_and_every_change_is_a_field() -> None:
    for layout in LAYOUTS:
        assert layout.names(), layout.source
        for name in layout.names():
            assert layout.changes.keys() <= {field.name for field in dataclasses.fields(model_card(name).spec)}


def test_torchvisions_files_are_of_networks_of_ours() -> None:
    ours = {"alexnet": "alexnet_owt", "googlenet": "googlenet_tv"}
    known = {name for layout in LAYOUTS if "torchvision" in layout.source for name in layout.names()}
    for name in TORCHVISION:
        candidates = {ours.get(name, name), f"{name}_v1_5"} & set(list_models())
        assert candidates & known, name
