"""The page of a network: that it stands alone, says what the explanation says, and shows what units see."""

import base64
import hashlib
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from torch import nn

from convatlas.errors import InputError
from convatlas.explanation.compare import row
from convatlas.explanation.explain import Explanation, explain
from convatlas.explanation.page import COLOURS, Module, Row, Table, data_uri, field, says, shares
from convatlas.explanation.probe import Probe, Signal
from convatlas.explanation.table import last_maps
from convatlas.wording import printable

NETWORKS = (
    "lenet5",
    "alexnet",
    "googlenet",
    "resnet50",
    "densenet121",
    "shufflenet_v2_x1_0",
    "vit_b_16",
    "mine",
)


class Mine(nn.Sequential):
    """A module that no atlas knows, with a name that is no name in HTML."""

    def __init__(self) -> None:
        super().__init__()
        self.add_module("<b>", nn.Conv2d(3, 8, 3))
        self.add_module("relu", nn.ReLU())


@pytest.fixture(scope="module")
def explained() -> dict[str, Explanation]:
    return {name: explain(name) for name in NETWORKS[:-1]} | {"mine": explain(Mine(), input_size=(3, 16, 24))}


class Elements(HTMLParser):
    """Every element's name and attributes, and the words between them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.words = ""
        self.feed(text)
        self.words = re.sub(r"\s+", " ", self.words)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.mark.parametrize("name", NETWORKS)
def test_the_page_stands_alone(name: str, explained: dict[str, Explanation]) -> None:
    text = explained[name].to_html()
    elements = Elements(text).found
    assert not {tag for tag, _ in elements} & {"iframe", "object", "embed", "img"}
    for tag, attributes in elements:
        assert not [key for key in attributes if key.startswith("on")]
        for key in ("src", "href", "xlink:href"):
            assert attributes.get(key, "#").startswith(("data:", "#")), tag
    assert not re.search(r"url\((?!#)|@import", text)
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {attributes["href"][1:] for tag, attributes in elements if tag == "a"} <= set(ids)
    assert len(text) < 500_000


def test_the_policy_of_the_page_lets_its_one_script_run(explained: dict[str, Explanation]) -> None:
    text = explained["lenet5"].to_html()
    (script,) = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in text


@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_is_there_once_with_its_formulas_and_what_it_sees(
    name: str, explained: dict[str, Explanation]
) -> None:
    e = explained[name]
    elements = Elements(e.to_html())
    rows = {a["data-layer"]: a for tag, a in elements.found if tag == "tbody"}
    assert len([tag for tag, _ in elements.found if tag == "tbody"]) == len(e.layers)
    for layer in e.layers:
        assert all(printable(formula) in elements.words for formula in layer.formulas)
        _, _, width, height, right, down = map(int, rows[layer.name.replace(" ", "_")]["data-field"].split())
        assert ((height, width), (down, right)) == (layer.receptive_field, layer.stride)
        assert rows[layer.name.replace(" ", "_")]["tabindex"] == "0"


def test_the_page_says_what_feeds_a_layer_and_how_much_memory_its_output_takes(
    explained: dict[str, Explanation],
) -> None:
    words = Elements(explained["resnet50"].to_html()).words
    assert "from conv2_x.0.relu3, bn3" in words
    assert "from conv3_x.3.relu3" in words
    assert "from pool1 " not in words.replace("from pool1, ", "").split("conv2_x.0")[0]
    e = explained["alexnet"]
    assert e["conv1.conv"].activation_bytes == 4 * 96 * 55 * 55
    words = Elements(e.to_html()).words
    assert "96 × 55 × 55 1.16 MB 34,944" in words
    assert "from " not in words.partition("Layer by layer")[2].partition("sees, pixels")[2]


def test_the_page_says_what_else_a_layer_computes_and_where_its_first_unit_looks(
    explained: dict[str, Explanation],
) -> None:
    e = explained["alexnet"]
    layer = e["pool2"]
    assert (layer.elementwise, layer.offset) == (256 * 13 * 13 * 9, (-16, -16))  # conv2 pads by 2 units 8 pixels apart
    words = Elements(e.to_html()).words
    assert "13 = ⌊(27 − 3 + 2·0) / 2⌋ + 1389,376 elementwise operationsbegins at pixel −16" in words


def test_the_modules_add_up(explained: dict[str, Explanation]) -> None:
    def rows(part: Row | Module) -> list[Row]:
        return [part] if isinstance(part, Row) else [row for each in part.parts for row in rows(each)]

    for e in explained.values():
        modules = Table(e).modules
        assert [row.place for module in modules for row in rows(module)] == list(range(len(e.layers)))
        assert sum(module.params for module in modules) + sum(e.unused.values()) == e.params
        assert sum(module.macs for module in modules) == e.macs
        assert sum(module.activation_bytes for module in modules) == e.activation_bytes
        assert sum(params for _, params, _ in shares(e)) == e.params
        assert sum(macs for *_, macs in shares(e)) == e.macs


def test_printed_and_exact_figures_stand_side_by_side(explained: dict[str, Explanation]) -> None:
    words = Elements(explained["alexnet"].to_html()).words
    assert "Parameters60,965,224printed: 60M" in words
    assert "40.7 %top 5: 18.2 %; ImageNet-2012, 10-crop val" in words
    assert "ImageNet classification with deep convolutional neural networks" in words
    assert "images of 227×227, which the maps that the paper gives need" in words
    assert "dense layers 96.2 %" in words


def test_what_is_printed_beside_a_changed_network_is_said_to_be_of_the_unchanged_one(
    explained: dict[str, Explanation],
) -> None:
    words = Elements(explain("resnet50", shortcut="A").to_html()).words
    assert "changed: shortcut A; what is printed is of the network without that." in words
    assert "changed:" not in Elements(explained["resnet50"].to_html()).words


@pytest.mark.parametrize(("name", "sees"), [("alexnet", 195), ("resnet50", 483), ("lenet5", 16)])
def test_the_last_maps_see_what_the_literature_says(name: str, sees: int, explained: dict[str, Explanation]) -> None:
    last = last_maps(explained[name].layers)
    assert last is not None
    assert last.receptive_field == (sees, sees)
    assert f"Sees at the last maps{sees} × {sees}pixels, at {last.name}" in Elements(explained[name].to_html()).words


@pytest.mark.parametrize("name", ["vit_b_16", "seresnet50"])
def test_behind_attention_and_squeeze_and_excitation_the_last_maps_see_all(name: str) -> None:
    e = explain(name)
    words = Elements(e.to_html()).words
    assert "Sees at the last mapsallof the image" in words
    assert f"{e.layers[-1].name}: every unit sees all of the image." in e.to_html()
    assert row(e).sees_all
    assert row(e).receptive_field == e.input_size[1:]


def test_the_unit_that_is_shown_is_the_middle_one(explained: dict[str, Explanation]) -> None:
    e = explained["alexnet"]
    assert field(e["conv1.conv"], e.input_size) == "108 108 11 11 4 4"  # unit 27 of 55, from 4 · 27 on
    assert field(e["pool5"], e.input_size) == "0 0 195 195 32 32"  # unit 2 of 6: 2 · 32 less 64 of padding
    assert field(e["fc6.dense"], e.input_size) == "-64 -64 355 355 0 0"
    tokens = explained["vit_b_16"]
    assert field(tokens["tokens.addition"], tokens.input_size) == "96 96 16 16 16 16"


def test_units_in_uneven_steps_are_not_said_to_see_as_much_and_the_one_that_is_shown_stands_on_a_pixel() -> None:
    size = (3, 32, 32)
    e = explain(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Upsample(scale_factor=2), nn.Conv2d(4, 4, 3)), size)
    assert says(e["0"], size) == "0: a unit sees 3 × 3 pixels. The next unit sees as much, 1 pixel on."
    assert says(e["1"], size) == "1: a unit sees at most 3 × 3 pixels. The next is 0.5 pixels on, in the mean."
    assert says(e["2"], size) == "2: a unit sees at most 4 × 4 pixels. The next is 0.5 pixels on, in the mean."
    # Unit 28 of 60 repeats unit 14 of the convolution before, which begins at pixel 14.
    assert field(e["1"], size) == "14 14 3 3 0.5 0.5"


def test_a_first_block_with_branches_is_drawn_and_those_like_it_are_not(explained: dict[str, Explanation]) -> None:
    def drawn(part: Row | Module) -> list[str]:
        if isinstance(part, Row):
            return []
        return [part.name] * bool(part.drawing) + [name for each in part.parts for name in drawn(each)]

    found = [name for module in Table(explained["resnet50"]).modules for name in drawn(module)]
    assert found == ["conv2_x.0", "conv2_x.1"]
    assert "dense_block1" in [name for module in Table(explained["densenet121"]).modules for name in drawn(module)]


def test_names_from_outside_are_escaped(explained: dict[str, Explanation]) -> None:
    text = explained["mine"].to_html()
    assert "&lt;b&gt;" in text
    assert "<b>" not in re.sub(r"<b>(&lt;b&gt;|relu)</b>", "", text)
    assert "224 = 8 · (3·3·3 + 1)" in Elements(text).words


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_a_photograph_is_cut_to_the_images_shape_and_scaled_down(mode: str, explained: dict[str, Explanation]) -> None:
    picture = Image.new("RGB", (900, 500), "red").convert(mode)
    uri = data_uri(picture, (224, 336))
    inside = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert inside.size == (448, 299)
    text = explained["lenet5"].to_html(picture=picture)
    assert 'href="data:image/jpeg;base64,' in text
    assert len(text) < 100_000


def test_what_a_probe_found_is_on_the_page_on_an_axis_of_tens() -> None:
    net = nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.Sigmoid()), nn.Flatten(), nn.Linear(4, 3))
    found = Probe(
        images=2, loss=1.5, lr=0.1,
        signals=(
            signal("0.0", 1.0, 1e-5, update=1e-7),
            signal("0.1", 0.1, 1e-4),
            signal("1", 0.1, None),
            signal("2", 10.0, 0.0, update=1e-3),
        ),
    )  # fmt: skip
    page = Elements(explain(net, (1, 1, 4)).to_html(probe=found))
    assert "One batch of 2 images: loss 1.5000; lr 0.1" in page.words
    # Deviations from 1e-5 to 10 are six powers of ten; what is 0 has no place among them.
    places = [(a.get("class", ""), a["style"]) for tag, a in page.found if tag == "i" and "left" in a.get("style", "")]
    at = {power: f"left: {100 * (power + 5) / 6:.1f}%" for power in range(-5, 2)}
    assert places == [
        ("", at[-1]), ("back", at[-4]),  # the module: what leaves it
        ("", at[0]), ("back", at[-5]), ("", at[-1]), ("back", at[-4]),
        ("", at[-1]), ("", at[1]),
    ]  # fmt: skip
    assert "0.5 ± 0.1" in page.words
    assert "0.5 ± 1.00e−5" in page.words
    assert [a["class"] for _, a in page.found if "far" in a.get("class", "")] == ["update far"] * 2
    ids = {a["id"] for _, a in page.found if "id" in a}
    links = [a["href"][1:] for tag, a in page.found if tag == "a" and "class" not in a]
    assert set(links) <= ids


def signal(name: str, activation: float, gradient: float | None, update: float | None = None) -> Signal:
    return Signal(
        name=name, activation_mean=0.5, activation_std=activation, dead=0, update=update,
        gradient_mean=None if gradient is None else 0.5, gradient_std=gradient,
    )  # fmt: skip


def test_what_computes_nothing_has_no_page() -> None:
    with pytest.raises(InputError, match="Identity computes nothing from its images"):
        explain(nn.Identity(), input_size=(3, 8, 8)).to_html()


def luminance(colour: str) -> float:
    """Of WCAG 2.1."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("ink", ["ink", "muted", "orange"])
@pytest.mark.parametrize("behind", ["paper", "panel"])
def test_text_is_read_on_what_is_behind_it(ink: str, behind: str) -> None:
    for one, two in zip(COLOURS[ink], COLOURS[behind], strict=True):
        dark, light = sorted((luminance(one), luminance(two)))
        assert (light + 0.05) / (dark + 0.05) >= 4.5


BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(BROWSER is None, reason="no browser of Chromium's family is here")
def test_in_a_browser_a_link_opens_its_layer_and_shows_what_that_sees(
    tmp_path: Path, explained: dict[str, Explanation]
) -> None:
    e = explained["resnet50"]
    (tmp_path / "page.html").write_text(e.to_html(), encoding="utf-8")
    place = [layer.name for layer in e.layers].index("conv3_x.1.conv2")
    assert BROWSER
    quiet = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--dump-dom")
    address = f"file://{tmp_path}/page.html#l{place}"
    command = [BROWSER, *quiet, f"--user-data-dir={tmp_path}/profile", address]
    shown = Elements(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)
    unit = next(a for _, a in shown.found if a.get("id") == "unit")
    x, y, width, height, *_ = field(e.layers[place], e.input_size).split()
    assert [unit[name] for name in ("x", "y", "width", "height")] == [x, y, width, height]
    assert says(e.layers[place], e.input_size) in shown.words
    opened = [a["data-layer"] for (tag, a), (_, before) in zip(shown.found[1:], shown.found, strict=False)
              if tag == "summary" and "open" in before]  # fmt: skip
    assert any(name.startswith("conv3_x.1.") for name in opened)
