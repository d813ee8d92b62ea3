"""Writes `arithmetic.md`: the numbers that papers and lectures quote, each as a call and what it answers.

    python docs/make_arithmetic.py

The answers are computed when the page is made, and a test makes it again: the page states no number by hand but those
that it quotes.
"""

import ast
from pathlib import Path
from typing import Any, NamedTuple

import convatlas as ca
from convatlas.explanation import arithmetic
from convatlas.explanation.layers import Span

DOCS = Path(__file__).resolve().parent
PAGE = DOCS / "arithmetic.md"

HEAD = """# The arithmetic, number by number

What papers and lectures quote about the landmark networks, each as a call. Costs are multiply-accumulates (MACs) of
convolutions and dense layers on one image ([how they are counted](counting.md)). Every answer is what the call
answered when `docs/make_arithmetic.py` made this page. The calls want

```python
import convatlas as ca
from convatlas.explanation.arithmetic import *
```
"""


class Call(NamedTuple):
    """A number."""

    asks: str
    """What it is the answer to, and what is quoted."""
    call: str
    """In Python; a `Sum` is shown as the sum in words."""


SECTIONS = {
    "Sizes": [
        Call("AlexNet's first maps are 55 wide, of images of 227:", "output_size(227, 11, stride=4)"),
        Call("The 224 that the paper prints gives 54, for the division does not come out even:",
             "output_size(224, 11, stride=4)"),
        Call("… and 55 with a frame of two pixels, as torchvision has it:",
             "output_size(224, 11, stride=4, padding=2)"),
        Call("… or 54 again with a frame of one, as d2l has it:", "output_size(224, 11, stride=4, padding=1)"),
        Call("Overlapping pooling brings 55 to 27:", "output_size(55, 3, stride=2)"),
        Call("GoogLeNet's poolings round up, so that 112 becomes 56 without a frame:",
             "output_size(112, 3, stride=2, ceil_mode=True)"),
    ],
    "What a stack of small kernels sees": [
        Call("Three 3×3 see what one 7×7 sees:", "receptive_field([Window(3)] * 3)"),
        Call("… for 27·C² weights instead of 49·C², here with 256 channels:",
             "stack_params([Conv(256, 256, 3)] * 3)"),
        Call("", "Conv(256, 256, 7).params"),
        Call("so this many times fewer:",
             "saving(Conv(256, 256, 7).params, stack_params([Conv(256, 256, 3)] * 3))"),
        Call("Two 3×3 see what a 5×5 sees:", "receptive_field([Window(3)] * 2)"),
        Call("Strides multiply: AlexNet's five convolutions and three poolings see 195 pixels.",
             "receptive_field([Window(11, 4), Window(3, 2), Window(5), Window(3, 2), *[Window(3)] * 3, Window(3, 2)])"),
        Call("The same from the network:", 'ca.explain("alexnet")["pool5"].receptive_field'),
        Call("VGG-16's 212, at its last map:", 'ca.explain("vgg16").layers[30].receptive_field'),
    ],
    "Bottlenecks": [
        Call("A 3×3 on 256 channels has 590 k weights:", "Conv(256, 256, 3).params"),
        Call("ResNet's bottleneck through 64 has 70 k:",
             "stack_params([Conv(256, 64, 1), Conv(64, 64, 3), Conv(64, 256, 1)])"),
        Call("ResNeXt's 32 paths of 4 have as many, in grouped form:",
             "stack_params([Conv(256, 128, 1), Conv(128, 128, 3, groups=32), Conv(128, 256, 1)])"),
        Call("A 5×5 from 200 to 32 channels at 32×32 costs 163 M (lectures on Network in Network):",
             "Conv(200, 32, 5).macs(32, 32)"),
        Call("… and behind a 1×1 to 16 channels:",
             "stack_macs([Conv(200, 16, 1), Conv(16, 32, 5)], 32, 32)"),
        Call("which is this many times less:",
             "saving(Conv(200, 32, 5).macs(32, 32), stack_macs([Conv(200, 16, 1), Conv(16, 32, 5)], 32, 32))"),
    ],
    "The Inception module": [
        Call("The naive module on 28×28×256 costs 854 M:",
             "naive = stack_macs([Conv(256, 128, 1), Conv(256, 192, 3), Conv(256, 96, 5)], 28, 28)"),
        Call("… and its output, with the 256 channels of the pooling, is 28×28×672:", "128 + 192 + 96 + 256"),
        Call("With 1×1 reductions to 64 it costs 271 M:",
             "reduced = stack_macs([Conv(256, 64, 1), Conv(256, 64, 1), Conv(256, 128, 1),\n"
             "                      Conv(64, 192, 3), Conv(64, 96, 5), Conv(256, 64, 1)], 28, 28)"),
        Call("… which is this many times less:", "saving(naive, reduced)"),
        Call("Lectures print 358 M for these six terms. That is the sum with the 3×3 counted twice:",
             "total([reduced, Conv(64, 192, 3).macs(28, 28)])"),
        Call("The output is 480 channels deep, as the pooling is reduced too:", "128 + 192 + 96 + 64"),
    ],
    "The last layers": [
        Call("The first dense layer of LeNet has 48 k weights:", "dense_params(16 * 5 * 5, 120, bias=False)"),
        Call("AlexNet's has 26 M as lectures have it, from maps of 5×5 (d2l's AlexNet):",
             "dense_params(256 * 5 * 5, 4096, bias=False)"),
        Call("… and 38 M in the paper's network, whose last maps are 6×6:",
             "dense_params(256 * 6 * 6, 4096, bias=False)"),
        Call("VGG's has 102 M, or 103 rounded:", "dense_params(512 * 7 * 7, 4096, bias=False)"),
    ],
    "Whole networks": [
        Call("GoogLeNet has 7 M parameters, where slides say 5 M:",
             'ca.explain("googlenet").params'),
        Call("which is this many times fewer than AlexNet's, where its paper says 12 times:",
             'ca.explain("alexnet").params / ca.explain("googlenet").params'),
        Call("The AlexNet of the paper, whose second, fourth and fifth convolutions have two groups:",
             'ca.explain("alexnet").params'),
        Call("… without groups, which is the 62 M that lectures quote, and no model of the paper:",
             'ca.explain("alexnet", groups=1).params'),
        Call("… of one column (torchvision's):", 'ca.explain("alexnet_owt").params'),
        Call("… and d2l's, on one channel and with maps of 5×5:", 'ca.explain("alexnet_d2l").params'),
        Call("Of AlexNet's parameters, so many per cent sit in its dense layers:",
             'alexnet = ca.explain("alexnet")\n'
             '100 * sum(layer.params for layer in alexnet.layers if layer.kind == "dense") / alexnet.params'),
    ],
    "Groups": [
        Call("A convolution in g groups has g times fewer weights, here 3×3 on 256 channels in 32:",
             "Conv(256, 256, 3, groups=32).params"),
        Call("", "saving(Conv(256, 256, 3).params, Conv(256, 256, 3, groups=32).params)"),
        Call("… and as many times fewer MACs:",
             "saving(Conv(256, 256, 3).macs(14, 14), Conv(256, 256, 3, groups=32).macs(14, 14))"),
        Call("Without its two groups AlexNet costs this many times as much:",
             'ca.explain("alexnet", groups=1).macs / ca.explain("alexnet").macs'),
        Call("A depthwise 3×3 with a 1×1 behind it, in the place of a 3×3 on 256 channels:",
             "saving(Conv(256, 256, 3).params, "
             "stack_params([Conv(256, 256, 3, groups=256), Conv(256, 256, 1)]))"),
    ],
    "Signal and gradient": [
        Call("Layers that each pass on 0.8 of the gradient leave this of it after a hundred:", "0.8**100"),
        Call("The slope of a sigmoid is 1/4 at most. Where weights keep a gradient as large as it is, eleven leave at "
             "most:", "0.25**11"),
        Call("A batch that is pushed through a perceptron of twelve layers says how large the gradient by the first "
             "answer is, against that by the last. With sigmoids, and weights as Glorot and Bengio draw them, it "
             "vanishes:",
             "import torch\n"
             "from torch import nn\n"
             "from convatlas.explanation.probe import probe\n"
             "\n"
             "def left(activation, draw, layers=12):\n"
             "    torch.manual_seed(0)\n"
             "    parts = [part for _ in range(layers) for part in (nn.Linear(128, 128), activation())]\n"
             "    for dense in parts[::2]:\n"
             "        draw(dense.weight)\n"
             "    net = nn.Sequential(*parts, nn.Linear(128, 10))\n"
             "    signals = probe(net, torch.randn(64, 128), torch.arange(64) % 10).signals\n"
             "    return signals[1].gradient_std / signals[2 * layers - 1].gradient_std\n"
             "\n"
             "left(nn.Sigmoid, nn.init.xavier_normal_)"),
        Call("The cure is ReLUs, with weights as He et al. draw them:", "left(nn.ReLU, nn.init.kaiming_normal_)"),
        Call("… through a hundred layers too:", "left(nn.ReLU, nn.init.kaiming_normal_, layers=100)"),
        Call("where what the sigmoids leave is too little for float32:",
             "left(nn.Sigmoid, nn.init.xavier_normal_, layers=100)"),
    ],
    "What if": [
        Call("Every sum of an explanation is one of these calls. Of a network in which something is changed they are "
             "made anew. ResNet-18's first convolution on small images:",
             'ca.explain("resnet18", (3, 32, 32))["conv1.conv"].formulas'),
        Call("… and with the stem that is made for them:",
             'ca.explain("resnet18", (3, 32, 32), stem="small")["conv1.conv"].formulas'),
        Call("… which costs so many times the MACs of the whole:",
             'ca.explain("resnet18", (3, 32, 32), stem="small").macs / ca.explain("resnet18", (3, 32, 32)).macs'),
    ],
}  # fmt: skip


def answer(call: str, names: dict[str, Any]) -> Any:
    """What the last line of a call answers, or the value of the name that it gives."""
    tree = ast.parse(call)
    last = tree.body.pop()
    if isinstance(last, ast.Assign):
        exec(call, names)
        return names[ast.unparse(last.targets[0])]
    exec(compile(tree, call, "exec"), names)
    return eval(ast.unparse(last), names)


def shown(value: Any) -> str:
    """A number with its thousands apart, a ratio to two places or digits, or sums in words."""
    if isinstance(value, Span):
        return f"{value.height} × {value.width}"
    if type(value) is tuple:
        return "\n# ".join(map(shown, value))
    if isinstance(value, float):
        return f"{value:.2f}" if value >= 0.01 or not value else f"{value:.1e}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def made() -> str:
    """The page, in Markdown."""
    parts, names = [HEAD], {"ca": ca} | vars(arithmetic)
    for title, calls in SECTIONS.items():
        parts.append(f"## {title}\n")
        for asks, call in calls:
            said = f"{asks}\n\n" if asks else ""
            parts.append(f"{said}```python\n{call}\n# {shown(answer(call, names))}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(made(), encoding="utf-8")
