"""`convatlas explain` and `convatlas compare`, as a user types them."""

import json
from pathlib import Path

import pytest
from PIL import Image

import convatlas as ca


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with modules of a user's own, in which the command line is run."""
    (tmp_path / "mynets.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "def small(): return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5))\n"
        "def wrong(): return 3\n"
        "def broken(): raise KeyError('weights')\n"
        "class Looks(nn.Module):\n"
        "    def forward(self, x):\n"
        "        return x.flatten(1) if x.sum() > 0 else x.flatten(1) * 2\n"
        "class Sums(nn.Module):\n"
        "    def forward(self, x): return torch.cumsum(x, dim=2)\n"
        "value = 5\n"
        "net = small()\n"
        "def late():\n"
        "    import sibling\n"
        "    return sibling.net\n"
    )
    (tmp_path / "folder").mkdir()
    (tmp_path / "sibling.py").write_text("from mynets import net\n")
    (tmp_path / "spoiled.py").write_text("import nothing_of_that_name\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_explain_prints_the_table_and_json_says_the_same(convatlas) -> None:
    said = convatlas("explain", "alexnet")
    assert said.status == 0
    assert "55 = ⌊(227 − 11 + 2·0) / 4⌋ + 1" in said.out
    assert "34,944 = 96 · (11·11·3 + 1)" in said.out
    assert "60,965,224" in said.out
    content = json.loads(convatlas("explain", "alexnet", "--json").out)
    assert content == json.loads(json.dumps(ca.explain("alexnet").to_dict()))


def test_depth_opens_the_blocks(convatlas) -> None:
    assert "conv2_x.0" not in convatlas("explain", "resnet18").out
    assert len(convatlas("explain", "resnet18", "--depth", 3).out) > 3 * len(convatlas("explain", "resnet18").out)


def test_input_and_changes_are_those_of_the_network(convatlas) -> None:
    content = json.loads(convatlas("explain", "resnet18", "--input", 1, 64, 64, "--json").out)
    assert content["input_size"] == [1, 64, 64]
    assert content["changes"] == {"in_channels": 1}
    content = json.loads(convatlas("explain", "resnet18", "--changes", "shortcut", "A", "--json").out)
    assert content["params"] < ca.explain("resnet18").params


def test_mermaid_dot_and_svg_go_to_the_terminal_or_to_a_file(convatlas, tmp_path: Path) -> None:
    assert convatlas("explain", "lenet5", "--format", "mermaid").out.startswith("flowchart TD")
    assert convatlas("explain", "lenet5", "--format", "svg").out.startswith("<svg")
    assert convatlas("explain", "lenet5", "--format", "html").out.lower().startswith("<!doctype html>")
    file = tmp_path / "lenet5.dot"
    said = convatlas("explain", "lenet5", "--format", "dot", "--output", file)
    assert (said.status, said.out) == (0, "")
    assert file.read_text().startswith("digraph")
    table = tmp_path / "lenet5.txt"
    assert convatlas("explain", "lenet5", "--output", table).status == 0
    assert "60,000" in table.read_text()


def test_a_file_holds_what_its_name_says(convatlas, tmp_path: Path) -> None:
    starts = {
        "html": "<!doctype html>",
        "svg": "<svg",
        "dot": "digraph",
        "mmd": "flowchart",
        "json": "{",
        "txt": "lenet5,",
    }
    for ending, start in starts.items():
        file = tmp_path / f"lenet5.{ending}"
        assert convatlas("explain", "lenet5", "--output", file).status == 0
        assert file.read_text().lower().startswith(start)


def test_a_drawing_is_opened_as_far_as_depth_says_and_a_part_can_be_drawn(convatlas) -> None:
    explained = ca.explain("googlenet")
    shallow = convatlas("explain", "googlenet", "--format", "svg", "--depth", 1).out
    assert shallow == explained.to_svg(depth=1)
    assert shallow != convatlas("explain", "googlenet", "--format", "svg", "--depth", 2).out
    part = convatlas("explain", "googlenet", "--format", "svg", "--part", "inception_4a")
    assert part.out == explained.to_svg(part="inception_4a")
    said = convatlas("explain", "googlenet", "--format", "svg", "--part", "inception_4z")
    assert (said.status, said.out) == (2, "")
    assert "inception_4z" in said.err


def test_a_page_shows_receptive_fields_on_a_picture_of_ones_own(convatlas, tmp_path: Path) -> None:
    file = tmp_path / "red.png"
    Image.new("RGB", (40, 30), "red").save(file)
    text = convatlas("explain", "lenet5", "--format", "html", "--picture", file).out
    assert text == ca.explain("lenet5").to_html(picture=Image.open(file))
    assert "data:image/jpeg" in text
    said = convatlas("explain", "lenet5", "--format", "html", "--picture", tmp_path / "absent.png")
    assert (said.status, said.out) == (2, "")
    assert "there is no file" in said.err


def test_verify_holds_the_receptive_fields_against_gradients(convatlas) -> None:
    said = convatlas("explain", "lenet5", "--verify")
    assert said.status == 0
    assert "held against gradients" in said.out
    assert "all agree" in said.out
    assert json.loads(convatlas("explain", "lenet5", "--verify", "--json").out)["verified"]["holds"] is True


@pytest.mark.usefixtures("own")
def test_verify_says_so_where_nothing_can_be_held_against_gradients(convatlas) -> None:
    said = convatlas("explain", "mynets:Sums", "--input", 3, 8, 8, "--verify")
    assert said.status == 1
    assert "nothing was held against gradients" in said.out
    assert "agree" not in said.out
    said = convatlas("explain", "mynets:Sums", "--input", 3, 8, 8, "--verify", "--json")
    assert said.status == 1
    assert json.loads(said.out)["verified"]["holds"] is False


def test_probe_adds_signals_and_gradients(convatlas) -> None:
    said = convatlas("explain", "lenet5", "--probe", "digits", "--batch-size", 16)
    assert said.status == 0, said.err
    assert "one batch of 16 images" in said.out
    content = json.loads(convatlas("explain", "lenet5", "--probe", "digits", "--batch-size", 16, "--json").out)
    assert content["probe"]["images"] == 16
    assert content["probe"]["signals"][0]["name"] == content["layers"][0]["name"]
    again = json.loads(convatlas("explain", "lenet5", "--probe", "digits", "--batch-size", 16, "--json").out)
    assert again == content


def test_what_a_probe_finds_is_on_the_page_too(convatlas) -> None:
    page = convatlas("explain", "lenet", "--probe", "digits", "--batch-size", 4, "--format", "html").out
    assert "One batch of 4 images: loss " in page
    assert "<h2>Signal and gradient</h2>" in page
    assert "Signal and gradient" not in convatlas("explain", "lenet", "--format", "html").out


def test_a_run_is_explained_and_probed_with_its_weights(convatlas, tmp_path: Path) -> None:
    run = ca.train(ca.Recipe(epochs=12, batch_size=32), output=tmp_path / "run", quiet=True).directory
    content = json.loads(convatlas("explain", run, "--probe", "digits", "--json").out)
    assert content["name"] == "lenet"
    assert {name: content[name] for name in ca.explain(run).to_dict()} == json.loads(
        json.dumps(ca.explain(str(run)).to_dict())
    )
    assert ca.compare(run, "lenet")[0].params == ca.explain("lenet").params
    with pytest.raises(ca.InputError, match="by name, and not for the run: activation"):
        ca.explain(run, activation="relu")
    fresh = json.loads(convatlas("explain", "lenet", "--probe", "digits", "--json").out)
    assert content["probe"]["loss"] < fresh["probe"]["loss"]
    said = convatlas("explain", "lenet", "--probe", "digits", "--weights", run / "model.safetensors", "--json")
    assert json.loads(said.out)["probe"]["loss"] < fresh["probe"]["loss"]


@pytest.mark.usefixtures("own")
def test_a_module_of_ones_own(convatlas) -> None:
    content = json.loads(convatlas("explain", "mynets:small", "--input", 3, 8, 8, "--json").out)
    assert content["params"] == 8 * 28 + 5 * 289
    assert content["paper"] is None
    assert convatlas("explain", "mynets:Looks", "--input", 3, 8, 8, "--real").status == 0


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("name", ["net", "late"])
def test_a_module_that_is_there_already_and_a_function_that_imports_its_neighbour(convatlas, name: str) -> None:
    said = convatlas("explain", f"mynets:{name}", "--input", 3, 8, 8, "--json")
    assert said.status == 0, said.err
    assert json.loads(said.out)["params"] == 8 * 28 + 5 * 289


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("resnet2",), "no model is called 'resnet2'; the nearest: resnet32, resnet20 or resnet200"),
        (("nowhere:net", "--input", 3, 8, 8), "nowhere cannot be imported: ModuleNotFoundError"),
        (("spoiled:net", "--input", 3, 8, 8), "No module named 'nothing_of_that_name'"),
        ((":net", "--input", 3, 8, 8), "':net' is no package.module:name"),
        (("mynets:absent", "--input", 3, 8, 8), "mynets has no function, class or module 'absent'"),
        (("mynets:value", "--input", 3, 8, 8), "mynets has no function, class or module 'value'"),
        (("mynets:wrong", "--input", 3, 8, 8), "to return a torch.nn.Module, and what it returns is of type int"),
        (("mynets:broken", "--input", 3, 8, 8), "mynets:broken() ends with KeyError: 'weights'"),
        (("mynets:small",), "Sequential does not say what images it takes; give --input C H W, such as --input 3 224"),
        (("mynets:small", "--input", 3, 9, 9), "3 (Linear) takes 288 features, and of images of 3×9×9 it gets 392"),
        (("mynets:Looks", "--input", 3, 8, 8), "; give --real\n"),
        (("mynets:small", "--input", 3, 8, 8, "--changes", "a", "b"), "changes are for networks of the atlas"),
        (("./runs/lenet-digits-9",), "there is no folder ./runs/lenet-digits-9; name the folder of a run"),
        (("mynets.py",), "mynets.py is a file; name the folder of a run"),
        (("alexnet", "--input", 3, 300, 300), "is made, and got 300×300: fc6.dense (Linear) takes 9216"),
        (("alexnet", "--input", 3, 0, 300), "--input takes three whole numbers, the channels, height"),
        (("alexnet", "--input", 3, 300), "--input takes 3 values"),
        (("alexnet", "--depth", 0), "--depth is at least 1, and not 0"),
        (("alexnet", "--format", "png"), "--format takes dot, html, mermaid, svg or table, and not 'png'; see"),
        (("lenet", "--output", "x.png"), "explain writes files that end in .txt, .md, .html, .svg, .dot"),
        (("alexnet", "--format", "html", "--depth", 2), "--depth is not for html, which has every layer"),
        (("alexnet", "--json", "--depth", 2), "--depth is not for json, which has every layer"),
        (("alexnet", "--format", "html", "--output", "a.svg"), "a.svg is named as svg, and html is asked for"),
        (("alexnet", "--json", "--output", "a.html"), "a.html is named as html, and json is asked for"),
        (("lenet", "--output", "nowhere/a.html"), "convatlas: nowhere/a.html cannot be used: it is not there"),
        (("lenet", "--output", "folder"), "convatlas: folder cannot be used: it is a folder"),
        (("alexnet", "--part", "conv1"), "--part is for --format svg"),
        (("alexnet", "--format", "svg", "--picture", "cat.jpg"), "--picture is for --format html"),
        (("alexnet", "--format", "svg", "--depth", 0), "--depth is at least 1, and not 0"),
        (("alexnet", "--format", "dot", "--json"), "--json or --format dot, and not both"),
        (("alexnet", "--format", "dot", "--verify"), "shown in the table and with --json alone"),
        (("alexnet", "--format", "svg", "--probe", "digits"), "what --probe finds is shown in the table, with --json"),
        (("alexnet", "--weights", "w.pt"), "--weights is for --probe, which is not asked for"),
        (("alexnet", "--lr", 0.5), "--lr is for --probe"),
        (("alexnet", "--batch-size", 8), "--batch-size is for --probe"),
        (("mynets:small", "--input", 3, 8, 8, "--probe", "digits", "--weights", "w.pt"), "mynets:small has its own"),
        (("lenet5", "--probe", "nowhere"), "nowhere"),
        (("lenet5", "--probe", "digits", "--batch-size", 0), "--batch-size is at least 1"),
        (("lenet5", "--changes", "real", "True"), "lenet5 has no 'real' to change"),
        (("lenet5", "--changes", "absent", "1"), "lenet5 has no 'absent' to change"),
        ((), "explain needs MODEL"),
    ],
)  # fmt: skip
def test_what_cannot_be_explained_is_said_in_a_sentence(convatlas, words, sentence: str) -> None:
    said = convatlas("explain", *words)
    assert said.status == 2
    assert sentence in said.err
    assert said.out == ""
    assert said.err.count("\n") == 1


def test_compare_sets_networks_side_by_side(convatlas, tmp_path: Path) -> None:
    names = ("alexnet", "vgg16", "googlenet", "resnet50")
    said = convatlas("compare", *names)
    assert said.status == 0
    assert "138,357,544" in said.out
    assert max(map(len, said.out.splitlines())) <= 80
    content = json.loads(convatlas("compare", *names, "--json").out)
    assert [one["depth"] for one in content] == [8, 16, 22, 50]
    for suffix, start in ((".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")):
        said = convatlas("compare", *names, "resnet18", "--chart", tmp_path / f"chart{suffix}")
        assert (tmp_path / f"chart{suffix}").read_bytes().startswith(start)
        assert "without resnet18: no error is printed" in said.err


@pytest.mark.usefixtures("own")
def test_a_module_of_ones_own_is_compared_on_images_of_input(convatlas) -> None:
    said = convatlas("compare", "--input", 3, 8, 8, "--real", "mynets:small", "mynets:Looks", "--json")
    assert said.status == 0, said.err
    assert [one["params"] for one in json.loads(said.out)] == [8 * 28 + 5 * 289, 0]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "compare needs"),
        (("mynets:small",), "Sequential does not say what images it takes; give --input C H W"),
        (("mynets:Looks", "--input", 3, 8, 8), "; give --real\n"),
        (("alexnet", "--input", 3, 0, 227), "--input takes three whole numbers"),
        (
            ("alexnet", "--input", 3, 227, 227, "vgg16", "vgg19"),
            "no place for 'vgg16': what belongs to no option stands",
        ),
        (("resnet5O",), "no model is called 'resnet5O'"),
        (("alexnet", "--chart", "chart.txt"), "--chart draws a .png, .svg or .pdf, and not chart.txt"),
        (("lenet5", "resnet20", "--chart", "chart.png"), "MNIST and CIFAR-10 cannot share an axis"),
        (("alexnet", "--chart", "nowhere/chart.png"), "convatlas: nowhere/chart.png cannot be used"),
    ],
)
def test_what_cannot_be_compared_is_said_in_a_sentence(convatlas, own: Path, words, sentence: str) -> None:
    said = convatlas("compare", *words)
    assert said.status == 2
    assert sentence in said.err
    assert not list(own.glob("chart*"))
