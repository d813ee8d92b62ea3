"""The command line, end to end, as a user types it."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from convatlas.cli import VERBS

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that has learned a little of the digits."""
    import convatlas as ca

    output = tmp_path_factory.mktemp("cli") / "run"
    return ca.train(ca.Recipe(epochs=12, batch_size=32), output=output, quiet=True).directory


def test_help_names_every_verb_and_every_verb_has_help(convatlas) -> None:
    said = convatlas("--help")
    assert said.status == 0
    for verb in VERBS:
        assert verb in said.out
        help_of_verb = convatlas(verb, "--help")
        assert help_of_verb.status == 0
        assert f"convatlas {verb}" in help_of_verb.out
    assert convatlas().out == said.out
    assert convatlas("--version").out.startswith("convatlas 0.")


def test_the_help_of_train_shows_the_recipe_of_the_model_that_is_named(convatlas) -> None:
    assert "(default: adamw)" in " ".join(convatlas("train", "--help").out.split())
    assert "(default: sgd)" in " ".join(convatlas("train", "resnet20", "--help").out.split())


def test_train_evaluate_predict_on_a_folder_of_ones_own(convatlas, shapes: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = [
        "resnet20",
        "--data",
        shapes,
        "--size",
        16,
        "--epochs",
        20,
        "--batch-size",
        32,
        "--crop",
        2,
        "--output",
        run,
    ]
    trained = convatlas("train", *words)
    assert trained.status == 0, trained.err
    scores = json.loads((run / "results.json").read_text())["test"]
    assert f"test: {scores['right']} of {scores['total']} right" in trained.out
    assert f"run: {run}" in trained.out
    assert "3 classes" in trained.err

    evaluated = json.loads(convatlas("evaluate", run, "--json").out)
    assert {name: evaluated[name] for name in scores} == scores
    assert evaluated["part"] == "test"
    everything = json.loads(convatlas("evaluate", run, "--data", shapes / ".." / "shapes", "--json").out)
    assert everything["total"] == scores["total"]  # the same folder by another name: what was trained on stays out

    table = list(csv.DictReader(io.StringIO(convatlas("predict", run, shapes, "--csv", "--top", 2).out)))
    assert len(table) == 90
    right = sum(Path(row["file_name"]).parent.name == row["label_1"] for row in table)
    assert right > 60
    assert float(table[0]["probability_1"]) >= float(table[0]["probability_2"])


def test_what_is_given_on_the_command_line_wins_over_the_recipe(convatlas, run: Path, tmp_path: Path) -> None:
    words = ["--recipe", run / "recipe.yaml", "--epochs", 1, "--output", tmp_path / "again"]
    assert convatlas("train", *words).status == 0
    before, after = (yaml.safe_load((folder / "recipe.yaml").read_text()) for folder in (run, tmp_path / "again"))
    assert {name for name in before if before[name] != after[name]} == {"epochs"}
    assert after["epochs"] == 1


def test_changes_on_the_command_line_are_added_to_those_of_the_recipe(convatlas, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("model: resnet20\nsize: 8\nepochs: 1\nbatch_size: 512\nchanges: {shortcut: B}\n")
    for i, (given, expected) in enumerate(
        [([], {"shortcut": "B"}), (["shortcut", "none"], {"shortcut": "none"}), (["n", 1], {"shortcut": "B", "n": 1})]
    ):
        words = [
            "--recipe",
            tmp_path / "r.yaml",
            "--output",
            tmp_path / str(i),
            *(["--changes", *given] if given else []),
        ]
        said = convatlas("train", *words)
        assert said.status == 0, said.err
        assert yaml.safe_load((tmp_path / str(i) / "recipe.yaml").read_text())["changes"] == expected


def test_a_papers_recipe_trains_with_what_the_command_line_changes_of_it(convatlas, tmp_path: Path) -> None:
    words = ["lenet", "--recipe", "paper", "--data", "digits", "--epochs", 1, "--output", tmp_path / "run"]
    assert convatlas("train", *words).status == 0
    recipe = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    assert (recipe["model"], recipe["data"], recipe["epochs"]) == ("lenet", "digits", 1)
    assert (recipe["optimizer"], recipe["lr"], recipe["momentum"], recipe["crop"]) == ("sgd", 0.1, 0, 0)


def test_a_recipe_is_shown_to_be_copied(convatlas) -> None:
    shown = convatlas("train", "resnet56", "--recipe", "paper", "--show-recipe")
    assert shown.status == 0
    assert shown.out.startswith("# He, Zhang, Ren, Sun 2015")
    assert "\nmodel: resnet56\n" in shown.out
    assert yaml.safe_load(convatlas("train", "lenet5", "--show-recipe").out)["rubbish"] == 1


def test_a_recipe_repeats_a_run_from_another_folder(convatlas, shapes: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(shapes.parent)
    words = ["train", "resnet20", "--data", "shapes", "--size", "8", "--epochs", "1"]
    assert convatlas(*words, "--output", "one").status == 0
    monkeypatch.chdir(tmp_path)
    again = convatlas(
        "train", "--recipe", shapes.parent / "one" / "recipe.yaml", "--output", tmp_path / "two", "--json"
    )
    results = json.loads(again.out)
    assert results["test"] == json.loads((shapes.parent / "one" / "results.json").read_text())["test"]
    assert results["run"] == str(tmp_path / "two")


def test_predictions_come_as_lines_json_and_csv(convatlas, run: Path, tmp_path: Path) -> None:
    one = np.zeros((8, 8), np.uint8)
    one[1:7, 3:5] = 255
    Image.fromarray(one).save(tmp_path / "a one.png")
    line = convatlas("predict", run, tmp_path / "a one.png").out
    assert re.fullmatch(rf"{tmp_path}/a one\.png(  \d \d+\.\d %){{3}}\n", line)
    (said,) = json.loads(convatlas("predict", run, tmp_path, "--json", "--top", 10).out)
    assert said["file_name"] == str(tmp_path / "a one.png")
    assert sum(p["probability"] for p in said["predictions"]) == pytest.approx(1, abs=1e-4)
    (row,) = csv.DictReader(io.StringIO(convatlas("predict", run, tmp_path, "--csv").out))
    assert row["label_1"] == said["predictions"][0]["label"]


def test_unreadable_pictures_are_said_and_passed_over(convatlas, run: Path, tmp_path: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    said = convatlas("predict", run, tmp_path)
    assert said.status == 0
    assert said.out.startswith(f"{tmp_path}/good.png")
    assert "bad.png cannot be read as an image" in said.err
    assert convatlas("predict", run, tmp_path / "bad.png").status == 2


def test_models_are_listed_with_their_parameters_and_errors(convatlas) -> None:
    assert "1,727,962  252.89 M  6.43 %" in convatlas("models", "resnet110").out
    listed = {row["name"]: row for row in json.loads(convatlas("models", "*net5*", "--json").out)}
    assert listed["lenet5"]["parameters"] == 60_000
    assert listed["lenet5"]["macs"] == 325_680
    assert listed["resnet56"]["published"]["top1_error"] == 6.97
    assert any("Fig. 3" in words for words in listed["lenet5"]["deviations"])


@pytest.mark.parametrize(
    ("sort", "key"),
    [
        ("params", lambda row: row["parameters"]),
        ("macs", lambda row: row["macs"]),
        ("year", lambda row: row["year"]),
        ("error", lambda row: row["published"].get("top1_error", 100)),  # without a printed one: last
    ],
)
def test_models_are_sorted_by_what_is_asked_for(convatlas, sort: str, key) -> None:
    plain_and_residual = "*n*[24][04]"
    listed, ordered = (
        json.loads(convatlas("models", plain_and_residual, "--sort", by, "--json").out) for by in (sort, "history")
    )
    assert listed == sorted(ordered, key=key)


def test_models_are_sorted_by_name_as_people_count(convatlas) -> None:
    names = [row["name"] for row in json.loads(convatlas("models", "plain*", "--sort", "name", "--json").out)]
    assert names == ["plain18", "plain20", "plain32", "plain34", "plain44", "plain56", "plain110"]


def test_a_narrow_terminal_cuts_the_titles_of_the_papers_and_nothing_else(convatlas, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    wide = convatlas("models", "*20").out.splitlines()
    for columns in (20, 80):
        monkeypatch.setenv("COLUMNS", str(columns))
        narrow = convatlas("models", "*20").out.splitlines()
        assert len(narrow) == len(wide)
        for cut, whole in zip(narrow, wide, strict=True):
            assert whole.rstrip().startswith(cut.rstrip().removesuffix("…"))
            assert len(cut) <= max(columns, whole.index("He,") + 5 if "He," in whole else len(cut))
    assert wide[0].split() == ["model", "year", "images", "parameters", "MACs", "error", "paper"]


@pytest.mark.parametrize(("depth", "right"), [(20, 932), (56, 943)])
def test_real_weights_are_right_exactly_as_often_as_their_authors_code(
    convatlas, shared_data: Path, shared_weights: Path, depth: int, right: int
) -> None:
    words = ["--model", f"resnet{depth}", "--weights", shared_weights / f"cifar10_resnet{depth}.safetensors"]
    words += ["--data", shared_data / "cifar10_exact", "--mean", 0.485, 0.456, 0.406, "--std", 0.229, 0.224, 0.225]
    said = convatlas("evaluate", *words)
    assert said.status == 0, said.err
    assert f"{right} of 1,017 right" in said.out
    scores = json.loads(convatlas("evaluate", *words, "--json").out)
    assert (scores["right"], scores["total"]) == (right, 1017)


def make(folder: Path, *names: str, value: int = 0) -> Path:
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (value + i, 0, 0)).save(folder / name)
    return folder


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("trian", r"there is no verb 'trian' \(nearest: train\)"),
        ("train lenet6", "no model is called 'lenet6'; the nearest: lenet"),
        ("train --epoch 3", r"there is no option --epoch \(nearest: --epochs"),
        ("train lenet digits", "there is no place for 'digits'"),
        ("train --epochs x", "--epochs takes a whole number, and not 'x'"),
        ("find-lr --seed 1.5", "--seed takes a whole number, and not '1.5'"),
        ("train --mean x", "--mean takes numbers, and not 'x'"),
        ("train --lr", "--lr needs a value"),
        ("train --changes pool", "--changes takes names and values in pairs"),
        ("train --changes pool max --changes activation relu", "--changes is there twice; give all changes after one"),
        ("predict", "predict needs RUN: The folder of a run"),
        ("predict {run}", "predict needs pictures too"),
        ("train --lr fast", "--lr takes a number, and not 'fast'"),
        ("train --optimizer lion", "--optimizer takes adam, adamw or sgd, and not 'lion'"),
        ("train --epochs 0", "^convatlas: epochs is at least 1, and not 0"),
        ("train --data {tmp}/nothing", "there is no data '.*nothing'"),
        ("train --data {tmp}/empty", "empty is empty; name a folder with a folder of images for each class"),
        ("train --data {tmp}/one", "one has the class 'a' alone; a classifier needs two or more"),
        ("train --data {tmp}/flat", "holds images but no folder for each class"),
        ("train --data {tmp}/two --strict", "a/broken.png.* cannot be read as an image"),
        ("train --recipe {tmp}/nothing.yaml", "the recipe .*nothing.yaml cannot be read: No such file"),
        ("train --size 20", "lenet takes 28×28 images"),
        ("train resnet20 --size 3", "resnet20 needs images of at least 4×4 pixels, and got 3×3"),
        ("train --changes depth 3", "lenet has no 'depth' to change; its spec has activation, pool"),
        ("train --output {tmp}/flat", "flat is there already and is not empty; choose another --output"),
        (
            "train --output {tmp}/flat/1.png/run",
            "1.png/run' cannot be used|1.png.* cannot be used: a part of the path is a file",
        ),
        ("train --output /proc/run", "/proc/run.* cannot be used"),
        ("resume {tmp}/empty", "empty holds no recipe.yaml, so no run to go on with"),
        ("evaluate", "evaluate needs the folder of a run, or for weights from elsewhere also --model"),
        ("evaluate {tmp}/empty", "empty holds no config.json, so no trained network"),
        ("evaluate {run} --model lenet", "and not both"),
        ("evaluate {run} --data {tmp}/two", "is of the class '.*', which is not among the classes: 0, 1"),
        ("evaluate --model lenet --weights {tmp}/text.pt --data digits --mean 0 --std 1", "text.pt holds no weights"),
        (
            "evaluate --model lenet --weights {run}/model.safetensors --data digits --mean 0 0 0 --std 1",
            "mean has 3 values",
        ),
        ("predict {tmp}/empty {tmp}/flat/1.png", "holds no config.json"),
        ("predict {run} {tmp}/nothing.png", "there is no file .*nothing.png"),
        ("predict {run} {tmp}/empty", "the folder .*empty holds no images"),
        ("predict {run} {tmp}/flat --top 0", "--top is at least 1"),
        ("predict {run} {tmp}/flat --json --csv", "predict prints --json or --csv, and not both"),
        ("evaluate {run} --changes pool max", "and not both: leave out --changes"),
        ("train --lr inf", "lr is a finite number"),
        ("train --data {tmp}/" + "x" * 300, "its name is too long"),
        ("predict tests/nothing-1 {tmp}/flat", "there is no run tests/nothing-1"),
        ("train --data tests/nothing", "there is no data 'tests/nothing'"),
        ("models nothing", "no model matches 'nothing'"),
        ("models --sort depth", "--sort takes error, history, macs, name, params or year, and not 'depth'"),
        ("data {tmp}/nothing", "there is no data"),
    ],
)
def test_bad_input_gets_one_sentence_and_status_2(
    convatlas, run: Path, tmp_path: Path, monkeypatch, words: str, reason: str
) -> None:
    monkeypatch.chdir(README.parent)
    (tmp_path / "empty").mkdir()
    make(tmp_path / "one", "a/1.png", "a/2.png")
    make(tmp_path / "flat", "1.png")
    make(tmp_path / "two", *(f"{label}/{i}.png" for label in "ab" for i in range(20)))
    (tmp_path / "two" / "a" / "broken.png").write_bytes(b"broken")
    (tmp_path / "text.pt").write_text("no weights")
    before = sorted(tmp_path.rglob("*"))
    given = [word.format(tmp=tmp_path, run=run) for word in words.split()]
    if given[0] == "train" and "--output" not in given:
        given += ["--output", str(tmp_path / "output")]
    said = convatlas(*given)
    assert said.status == 2, said
    assert re.search(reason, said.err), said.err
    sentences = [line for line in said.err.splitlines() if line.startswith("convatlas: ")]
    assert len(sentences) == 1
    assert "Traceback" not in said.err
    assert said.out == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_debug_shows_where_an_error_comes_from(convatlas) -> None:
    from convatlas.errors import InputError

    with pytest.raises(InputError):
        convatlas("train", "lenet6", "--debug")


def test_results_can_be_piped_to_a_reader_that_goes_away() -> None:
    for words in ("models --json", "--help"):
        command = f"{sys.executable} -m convatlas {words} | true"
        done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
        assert done.stderr == ""


def test_a_run_writes_nothing_but_its_results_to_stdout(tmp_path: Path) -> None:
    words = ["train", "lenet", "--epochs", "1", "--output", str(tmp_path / "run"), "--json"]
    done = subprocess.run([sys.executable, "-m", "convatlas", *words], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["status"] == "done"
    assert "epoch 1/1" in done.stderr
    assert "float32" in done.stderr or "bf16" in done.stderr


def test_the_python_of_the_readme_runs(tmp_path: Path) -> None:
    Image.new("L", (28, 28)).save(tmp_path / "new.png")
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    quick = code.replace('data="digits")', 'data="digits", epochs=2)')
    assert quick != code
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", quick],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "lenet-digits-1" / "report.html").is_file()
