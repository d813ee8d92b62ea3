"""Modules of every kind, explained as they run, left as they were; and what is said where that cannot be."""

import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas.errors import InputError
from convatlas.explanation.blocks import divided
from convatlas.explanation.boxes import boxed
from convatlas.explanation.explain import Explanation, explain
from convatlas.models import build


class Applied(nn.Module):
    """A module whose forward pass is a function of its parts and the images."""

    def __init__(self, function: Any, **parts: nn.Module | nn.Parameter | Tensor) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


def seen(found: Explanation) -> list[tuple[str, str, int, int]]:
    """Name, kind, parameters and MACs of each layer."""
    return [(layer.name, layer.kind, layer.params, layer.macs) for layer in found.layers]


def test_a_module_that_is_called_twice_is_two_layers_with_parameters_once() -> None:
    module = Applied(lambda m, x: m.conv(torch.relu(m.conv(x))), conv=nn.Conv2d(4, 4, 3, padding=1))
    found = explain(module, (4, 8, 8))
    assert seen(found) == [
        ("conv", "convolution", 148, 9_216), ("ReLU", "ReLU", 0, 0), ("conv (2)", "convolution", 0, 9_216),
    ]  # fmt: skip
    assert found.params == 148


def test_functions_are_layers_too() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.conv2d(x, m.filters, stride=2), 2)
        return F.linear(x.mean((2, 3)), m.weight)

    module = Applied(forward, filters=nn.Parameter(torch.ones(5, 3, 3, 3)), weight=nn.Parameter(torch.ones(7, 5)))
    assert seen(explain(module, (3, 9, 9))) == [
        ("convolution", "convolution", 135, 2_160), ("max_pooling", "max pooling", 0, 0),
        ("global_average_pooling", "global average pooling", 0, 0), ("dense", "dense", 35, 35),
    ]  # fmt: skip


def shared() -> nn.Module:
    """One module under two names, and one weight in two modules."""
    module = Applied(
        lambda m, x: m.again(m.b(m.a(x))), a=nn.Conv2d(4, 4, 3, padding=1), b=nn.Conv2d(4, 4, 3, padding=1)
    )
    module.again, module.b.weight = module.a, module.a.weight
    return module


def test_shared_weights_count_once_and_the_layer_that_has_them_too_says_so() -> None:
    found = explain(shared(), (4, 8, 8))
    assert found.params == 148 + 4 == sum(p.numel() for p in shared().parameters())
    assert [(layer.name, layer.params) for layer in found.layers] == [("a", 148), ("b", 4), ("a (2)", 0)]
    assert "4 of the 148 are parameters here" in found["b"].formulas[-1]


def test_parameters_that_the_pass_does_not_use_are_named() -> None:
    module = Applied(lambda m, x: m.a(x), a=nn.Conv2d(1, 1, 1), idle=nn.Linear(3, 3))
    found = explain(module, (1, 4, 4))
    assert dict(found.unused) == {"idle.weight": 9, "idle.bias": 3}
    assert found.params == 14


@pytest.mark.parametrize("make", [shared, lambda: build("resnet20"), lambda: nn.LSTM(4, 2)])
@pytest.mark.parametrize("size", [(4, 8, 8), (3, 1, 1)])
def test_a_module_is_left_as_it_was_whether_or_not_it_could_be_explained(make: Any, size: Any) -> None:
    module = make()
    module.train()
    next(module.children(), module).eval()

    def state() -> Any:
        names = {**dict(module.named_parameters(remove_duplicate=False)), **dict(module.named_buffers())}
        flags = [(part.training, len(part._forward_hooks), len(part._forward_pre_hooks)) for part in module.modules()]
        return {name: (id(tensor), tensor.device, tensor._version) for name, tensor in names.items()}, flags

    before = state()
    with suppress(InputError):
        explain(module, size)
    assert state() == before


def test_control_flow_is_followed_as_it_runs() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        while x.shape[-1] > 4:
            x = m.conv(x)
        return x

    found = explain(Applied(forward, conv=nn.Conv2d(1, 1, 3)), (1, 9, 9))
    assert [layer.output_shape for layer in found.layers] == [(1, 7, 7), (1, 5, 5), (1, 3, 3)]


def test_constants_that_are_no_buffers_follow_the_images() -> None:
    module = Applied(
        lambda m, x: m.conv((x - m.mean) / torch.tensor([1.0, 2, 3]).view(3, 1, 1)), conv=nn.Conv2d(3, 4, 3)
    )
    module.mean = torch.ones(3, 1, 1)
    assert [layer.kind for layer in explain(module, (3, 8, 8)).layers] == ["subtraction", "division", "convolution"]
    assert module.mean.device.type == "cpu"


def test_in_place_layers_are_as_others() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True)).to(
        memory_format=torch.channels_last  # type: ignore[call-overload]
    )
    assert [layer.kind for layer in explain(module, (3, 8, 8)).layers] == [
        "convolution", "batch normalisation", "ReLU",
    ]  # fmt: skip


def test_several_answers_in_a_structure() -> None:
    def forward(m: Any, x: Tensor) -> Any:
        x = m.a(x)
        return {"map": x, "others": [m.b(x), None]}

    found = explain(Applied(forward, a=nn.Conv2d(3, 4, 3), b=nn.Conv2d(4, 4, 3)), (3, 8, 8))
    assert found["b"].inputs == ("a",)


def test_attention_counts_its_two_products_and_four_dense_layers() -> None:
    """16 tokens of 8 numbers in 2 heads: 4 · 16·8·8 in dense layers, 2 · 16·16·8 between tokens."""
    module = Applied(lambda m, x: m.attend(*[tokens(x)] * 3, need_weights=False)[0])
    module.attend = nn.MultiheadAttention(8, 2, batch_first=True)
    found = explain(module, (8, 4, 4))
    assert found.macs == 4 * 16 * 8 * 8 + 2 * 16 * 16 * 8
    assert found.params == sum(p.numel() for p in module.parameters())
    assert not found.unused


def test_an_encoder_layer_has_its_parts() -> None:
    module = Applied(lambda m, x: m.layer(tokens(x)), layer=nn.TransformerEncoderLayer(8, 2, 16, batch_first=True))
    found = explain(module, (8, 4, 4))
    assert found.macs == 4 * 16 * 8 * 8 + 2 * 16 * 16 * 8 + 2 * 16 * 8 * 16
    assert found.params == sum(p.numel() for p in module.parameters())
    assert found["layer.norm1"].kind == "layer normalisation"


def test_a_recurrent_layer_counts_the_products_with_what_comes_from_the_image() -> None:
    """4 gates of 6 from 8 inputs at 16 steps, and from 6 states at 15: the first state is zeros."""
    module = Applied(lambda m, x: m.lstm(tokens(x))[0], lstm=nn.LSTM(8, 6, batch_first=True))
    (lstm,) = explain(module, (8, 4, 4)).layers
    assert (lstm.params, lstm.macs) == (sum(p.numel() for p in module.parameters()), 16 * 4 * 6 * 8 + 15 * 4 * 6 * 6)
    assert [note.kind for note in lstm.notes] == ["unfollowed"]
    assert (lstm.output_shape, lstm.activation_bytes) == ((16, 6), 4 * 16 * 6)


def test_what_a_recurrent_layer_gives_is_all_of_its_steps() -> None:
    module = Applied(lambda m, x: m.lstm(x.flatten(2).permute(2, 0, 1))[0], lstm=nn.LSTM(4, 8))
    (lstm,) = explain(module, (4, 30, 30)).layers
    assert (lstm.output_shape, lstm.activation_bytes) == ((900, 1, 8), 28_800)


def test_attention_that_answers_its_weights_too_has_the_shape_of_its_tokens() -> None:
    module = Applied(lambda m, x: m.head(m.attend(*[tokens(x)] * 3)[0]), head=nn.Linear(32, 10))
    module.attend = nn.MultiheadAttention(32, 4, batch_first=True)
    found = explain(module, (32, 4, 4))
    assert found["attend.dense (2)"].answers == ("attend",)
    assert [(block.name, block.output_shape) for block in divided(found.layers, 1)] == [
        ("attend", (16, 32)), ("head", (16, 10)),
    ]  # fmt: skip
    drawn = boxed(found, list(found.layers), "", 1)
    assert next(box.shape for box in drawn if box.name == "attend") == (16, 32)


def test_what_has_no_rule_is_said_to_be_left_out() -> None:
    found = explain(Applied(lambda m, x: m.conv(torch.fft.fft2(x).abs()), conv=nn.Conv2d(3, 1, 3)), (3, 8, 8))
    assert [layer.name for layer in found.left_out] == ["fft_c2c"]
    assert str(found.left_out[0].omissions[0]) == "the operations of _fft_c2c are not counted"


def test_only_what_was_not_analysed_is_left_out() -> None:
    """Of BN-Inception one path is a pixel aside, and units of an upsampled map see by turns more and less."""
    inception = explain("bn_inception")
    assert [note.kind for layer in inception.layers for note in layer.notes] == ["shifted"]
    assert not inception.left_out
    found = explain(nn.Sequential(nn.Conv2d(1, 1, 3), nn.Upsample(scale_factor=2, mode="bilinear")), (1, 8, 8))
    (note,) = found["1"].notes
    assert str(note) == "its units see 4 pixels each in uneven steps, the same again 2 units and 1 pixel on"
    assert found.to_dict()["layers"][1]["notes"] == [{"kind": "by turns", "text": str(note)}]
    assert not found.to_dict()["left_out"]


def branching() -> nn.Module:
    return Applied(lambda m, x: m.conv(x) + 1 if x.mean() > -1 else m.conv(x), conv=nn.Conv2d(1, 1, 3))


def test_a_module_that_looks_at_numbers_is_refused_by_operation_and_module() -> None:
    with pytest.raises(
        InputError,
        match=r"^local_scalar_dense in the network itself, at line \d+ of test_trace.py, needs .*; give real=True$",
    ):
        explain(branching(), (1, 9, 9))
    with pytest.raises(
        InputError, match=r"^local_scalar_dense in 0 \(Applied\), at line \d+ of test_trace.py, needs numbers"
    ):
        explain(nn.Sequential(branching()), (1, 9, 9))


def test_a_module_that_looks_at_numbers_is_explained_where_they_are_computed() -> None:
    assert [layer.kind for layer in explain(branching(), (1, 9, 9), real=True).layers][-2:] == [
        "convolution",
        "addition",
    ]


def test_a_pass_through_numpy_is_refused_and_not_counted_as_nothing() -> None:
    module = Applied(lambda _, x: torch.from_numpy(x.numpy() * 2))
    with pytest.raises(InputError, match="the answer does not come from the images by operations of torch alone"):
        explain(module, (1, 4, 4), real=True)


def test_a_lazy_module_is_asked_to_see_an_image_first() -> None:
    with pytest.raises(InputError, match=r"0\.weight has no shape before its module has seen an image"):
        explain(nn.Sequential(nn.LazyConv2d(4, 3)), (3, 8, 8))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, 4), nn.MaxPool2d(3, 2), nn.Conv2d(64, 256, 3, 2, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(9_216, 10),
    )  # fmt: skip


def test_images_of_a_wrong_size_are_told_the_layer_and_the_sizes_that_fit() -> None:
    with pytest.raises(InputError) as refused:
        explain(cnn(), (3, 224, 224))
    assert str(refused.value) == (
        "5 (Linear) takes 9216 features, and of images of 3×224×224 it gets 43264; images of 3×99×99 to 3×114×114 fit"
    )
    for side, fits in ((98, False), (99, True), (114, True), (115, False)):
        if fits:
            cnn()(torch.zeros(1, 3, side, side))
        else:
            with pytest.raises(RuntimeError):
                cnn()(torch.zeros(1, 3, side, side))


@pytest.mark.parametrize(
    ("module", "size", "says"),
    [
        (cnn(), (1, 99, 99), "0 (Conv2d) takes 3 channels, and of images of 1×99×99 it gets 1"),
        (cnn(), (3, 5, 5), "images of 3×99×99 to 3×114×114 fit"),
        (nn.Sequential(nn.Conv2d(3, 1, 9)), (3, 5, 5), "images of 3×9×9 and more fit"),
        (nn.Sequential(nn.Flatten(), nn.Linear(7, 2)), (1, 2, 2),
         "1 (Linear) takes 7 features, and of images of 1×2×2 it gets 4"),
        (Applied(lambda m, x: F.linear(x.flatten(1), m.w), w=nn.Parameter(torch.ones(2, 9))), (1, 2, 2),
         "the network itself takes 9 features, and of images of 1×2×2 it gets 4; images of 1×3×3 fit"),
    ],
)  # fmt: skip
def test_a_refusal_ends_with_what_would_do_if_there_is_something(module: nn.Module, size: Any, says: str) -> None:
    with pytest.raises(InputError) as refused:
        explain(module, size)
    assert str(refused.value).endswith(says)


def in_windows(m: Any, x: Tensor) -> Tensor:
    """Maps of a stride of 4, cut into windows of 7×7."""
    y = m.stem(x)
    return y.view(1, 4, y.shape[2] // 7, 7, y.shape[3] // 7, 7).transpose(3, 4).flatten(-2)


def by_sixteen(_: Any, x: Tensor) -> Tensor:
    assert x.shape[2] % 16 == 0, "the height is a multiple of 16"
    return x * 2


def by_seven(m: Any, x: Tensor) -> Tensor:
    if (y := m.stem(x)).shape[2] % 7:
        raise ValueError("the height is a multiple of 7")
    return y


@pytest.mark.parametrize(
    ("module", "side", "fit"),
    [
        (Applied(in_windows, stem=nn.Conv2d(3, 4, 4, 4)), 200, (199, 224)),
        (Applied(by_sixteen), 200, (192, 208)),
        (Applied(by_seven, stem=nn.Conv2d(3, 4, 3)), 200, (198, 205)),
        (Applied(lambda m, x: m.a(x) + F.interpolate(m.a(m.a(x)), scale_factor=2), a=nn.Conv2d(3, 3, 2, 2)),
         202, (201, 204)),
    ],
)  # fmt: skip
def test_of_sizes_that_fit_here_and_there_the_nearest_are_named(
    module: nn.Module, side: int, fit: tuple[int, int]
) -> None:
    with pytest.raises(InputError) as refused:
        explain(module, (3, side, side))
    below, above = fit
    assert str(refused.value).endswith(f"; images of 3×{below}×{below} and 3×{above}×{above} fit")
    for other in range(below, above + 1):
        if other in fit:
            module(torch.zeros(1, 3, other, other))
        elif other > side:
            with pytest.raises((RuntimeError, ValueError, AssertionError)):
                module(torch.zeros(1, 3, other, other))


@pytest.mark.parametrize(
    ("name", "size", "says"),
    [
        ("alexnet", (3, 50, 50), "alexnet takes 227×227 images, for which it is made, and got 50×50: images of 3×50×50 "
         "get as far as pool5 (MaxPool2d), which says: Given input size"),
        ("alexnet", (3, 300, 300), "and got 300×300: fc6.dense (Linear) takes 9216 features, and of images of "
         "3×300×300 it gets 16384"),
        ("lenet", (1, 8, 8), "lenet takes 28×28 images, for which it is made, and got 8×8"),
    ],
)  # fmt: skip
def test_a_network_of_the_atlas_says_what_it_takes_and_where_it_fails(name: str, size: Any, says: str) -> None:
    with pytest.raises(InputError) as refused:
        explain(name, size)
    assert says in str(refused.value)


def undefined(m: Any, x: Tensor) -> Any:
    return m.stem(x) + nowhere  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (undefined, "images of 3×8×8 get as far as block (Applied), at line {}, which says: name 'nowhere' is not"),
        (lambda m, x: torch.from_numpy(m.stem(x).numpy()), "block (Applied), at line {}, needs numbers, and here none"),
        (lambda m, x: m.stem(x).tolist(), "to_copy in block (Applied), at line {}, needs numbers, and here none"),
        (lambda m, x: m.stem(x).nonzero(), "nonzero in block (Applied), at line {}, needs numbers, and here none are "
         "computed; give real=True"),
        (lambda m, x: m.stem(x).view(7, -1), "get as far as block (Applied), at line {}, which says: shape"),
        (lambda m, x: m.norm(m.stem(x)), "get as far as block.norm (BatchNorm2d), which says: running_mean"),
    ],
)  # fmt: skip
def test_an_error_is_of_the_innermost_module_that_is_open_and_of_a_line_of_its_own(function: Any, says: str) -> None:
    block = Applied(function, stem=nn.Conv2d(3, 4, 1), norm=nn.BatchNorm2d(5))
    with pytest.raises(InputError) as refused:
        explain(Applied(lambda m, x: m.last(m.block(x)), block=block, last=nn.ReLU()), (3, 8, 8))
    line = function.__code__.co_firstlineno + (function is undefined)
    said = str(refused.value)
    assert says.format(f"{line} of test_trace.py") in said
    assert "torch.fx" not in said


def test_an_error_that_a_module_catches_is_not_the_one_that_ends_it() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        try:
            return m.wrong(x)
        except RuntimeError:
            return m.a(x).view(7, -1)

    with pytest.raises(InputError, match=r"get as far as the network itself, at line \d+ of test_trace.py, which says"):
        explain(Applied(forward, wrong=nn.Conv2d(5, 4, 1), a=nn.Conv2d(3, 4, 1)), (3, 8, 8))


class Written(nn.Module):
    """Writes into a part, or through a view, of what it has computed."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.a, self.b, self.c = (nn.Conv2d(4, 4, k, padding=k // 2) for k in (1, 5, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, z = self.a(x), self.b(x)
        if self.way == "part":
            y[:, :2] += z[:, :2]
        elif self.way == "view":
            y.view(1, 4, -1).add_(z.view(1, 4, -1))
        else:
            made = torch.zeros(1, 8, *x.shape[2:], device=x.device)
            made[:, :4] = z
            y = made[:, :4]
        return self.c(y)


@pytest.mark.parametrize("way", ["part", "view", "new"])
def test_what_is_written_through_a_view_is_seen_by_those_that_share_its_memory(way: str) -> None:
    last = explain(Written(way), (4, 9, 9)).layers[-1]
    assert min(last.receptive_field) >= 5  # of b, which was written into what c reads


def test_what_is_lost_in_a_reshaping_is_said_at_the_next_layer() -> None:
    class Windows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.a(x).view(1, 4, 2, 4, 2, 4).permute(0, 1, 2, 4, 3, 5).reshape(1, 4, 8, 8)
            return self.b(y)

    assert explain(Windows(), (4, 8, 8))["b"].notes[0].kind == "unfollowed"


def test_a_failure_that_the_module_catches_leaves_the_names_as_they_are() -> None:
    class Careful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(5, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            try:
                return self.b(x)
            except RuntimeError:
                return self.a(x) + 1

    assert [layer.name for layer in explain(Careful(), (3, 4, 4)).layers] == ["a", "addition"]


def test_a_stride_of_half_a_pixel_is_one() -> None:
    network = nn.Sequential(nn.ConvTranspose2d(3, 4, 4, stride=2, padding=1))
    assert explain(network, (3, 8, 8)).layers[0].stride == (0.5, 0.5)


def test_a_convolution_that_pads_by_itself_is_one() -> None:
    layer = explain(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect")), (3, 8, 8)).layers[0]
    assert (layer.kind, layer.window) == ("convolution", (3, 3))


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: explain(5, (3, 8, 8)), "a network is a name, the folder of a run or a torch.nn.Module, and not 5"),  # type: ignore[arg-type]
        (lambda: explain("resnet20", (3, 8)), r"input_size is \(C, H, W\)"),  # type: ignore[arg-type]
        (lambda: explain("resnet20", (3, -1, 8)), r"input_size is \(C, H, W\)"),
        (lambda: explain(torch.jit.script(nn.Conv2d(3, 4, 1)), (3, 8, 8)), "a TorchScript module hides its operations"),
        (lambda: explain(nn.Conv2d(3, 4, 1, device="meta"), (3, 8, 8), real=True), "without numbers to compute with"),
    ],
)
def test_what_is_no_network_or_no_size_is_refused(call: Callable[[], object], reason: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript
        with pytest.raises(InputError, match=reason):
            call()


def test_the_channels_of_a_changed_network_are_those_of_its_images() -> None:
    assert explain("resnet20", in_channels=1).input_size == (1, 32, 32)
    assert explain("resnet20", (1, 32, 32), in_channels=1).input_size == (1, 32, 32)
    assert explain("vgg11", size=64).input_size == (3, 64, 64)


def test_a_module_in_half_precision_and_one_with_spectral_normalisation_are_left_as_they_were() -> None:
    assert explain(nn.Conv2d(3, 4, 3).half(), (3, 8, 8)).params == 112
    normed = nn.utils.spectral_norm(nn.Conv2d(3, 4, 3))
    explain(normed, (3, 8, 8))
    assert not normed.weight.is_meta
