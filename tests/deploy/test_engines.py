"""Every engine gives the network's own answers, or says in a sentence why it cannot be used."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import convatlas as ca
from convatlas.data.images import Preparation
from convatlas.deploy import classifier, engines, measuring, quantizing
from convatlas.deploy.engines import ENGINES, Engine, engine
from convatlas.deploy.measuring import Choice, Measured, Timing, keep_choice, kept_choices, machine_of, measure
from convatlas.errors import InputError
from convatlas.network import Network
from convatlas.training.run import Run
from convatlas.weights.bundle import fingerprint, load_trained

IMAGES = Preparation(size=(3, 32, 32), mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
HERE = [kind for kind in ENGINES if kind.lacks("cpu", kind.precisions[0]) is None and kind.name != "int8"]


def noise(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    return ca.create_model("resnet20").eval()


@pytest.mark.parametrize("kind", HERE, ids=lambda kind: kind.name)
def test_each_engine_gives_the_networks_logits_for_any_number_of_images(network: Network, kind: type[Engine]) -> None:
    made = kind(network, IMAGES, batch_size=4)
    for count in (4, 3, 9):
        pixels = noise(count)
        with torch.no_grad():
            expected = network(IMAGES.normalize(torch.from_numpy(pixels))).numpy()
        answer = made(pixels)
        assert answer.shape == (count, 10)
        np.testing.assert_allclose(answer, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_all_engines_are_timed_in_turn_and_the_fastest_that_agrees_is_chosen(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong(engines.Eager):
        """An engine at once and not of the same opinion."""

        name = "compiled"

        def run(self, images: np.ndarray) -> np.ndarray:
            return np.ones((len(images), 10), np.float32)

    monkeypatch.setattr(measuring, "ENGINES", (engines.Eager, Wrong))
    monkeypatch.setattr(measuring, "fast_bf16", lambda _: False)
    measured = measure(network, IMAGES, batch_sizes=(1, 2), seconds=0.01)
    assert [(t.engine, t.batch_size, t.agrees) for t in measured.timings] == [
        ("eager", 1, True), ("compiled", 1, False), ("eager", 2, True), ("compiled", 2, False),
    ]  # fmt: skip
    assert all(t.latency == tuple(sorted(t.latency)) and t.images_per_second > 0 for t in measured.timings)
    fastest = max((t for t in measured.timings if t.agrees), key=lambda t: t.images_per_second)
    assert fastest.engine == measured.choices()[0].engine == "eager"
    keep_choice(measured, tmp_path)
    assert kept_choices(tmp_path, "cpu", network) == [Choice("eager", "32", fastest.batch_size)]
    other = ca.create_model("resnet20").eval()
    assert kept_choices(tmp_path, "cpu", other) == []  # of a run that has gone on, say
    content = json.loads((tmp_path / "engine.json").read_text())
    content["machine"]["processor"] = "another"
    (tmp_path / "engine.json").write_text(json.dumps(content))
    assert kept_choices(tmp_path, "cpu", network) == []


def measured_here(network: Network, *timings: Timing) -> Measured:
    return Measured(machine=machine_of("cpu"), weights=fingerprint(network), timings=timings, absent=())


def test_what_was_measured_before_stays_where_it_is_not_measured_again(network: Network, tmp_path: Path) -> None:
    keep_choice(measured_here(network, timed("eager", 10), timed("openvino", 30)), tmp_path)
    again = keep_choice(measured_here(network, timed("eager", 20)), tmp_path)
    assert [(t.engine, t.images_per_second) for t in again.timings] == [("eager", 20), ("openvino", 30)]
    assert [choice.engine for choice in kept_choices(tmp_path, "cpu", network)] == ["openvino", "eager"]
    one = measured_here(network, timed("eager", 1))
    for changed in (replace(one, machine=one.machine | {"processor": "another"}), replace(one, weights="others")):
        keep_choice(again, tmp_path)
        assert len(keep_choice(changed, tmp_path).timings) == 1


def timed(name: str, rate: float, *, prepared: float = 0.0, batch_size: int = 4) -> Timing:
    return Timing(
        engine=name, precision="32", batch_size=batch_size, images_per_second=rate, latency=(1, 1, 1),  # type: ignore[arg-type]
        prepared=prepared, difference=0,
    )  # fmt: skip


def test_a_faster_engine_is_taken_when_so_many_pictures_have_come_that_it_pays(run: Run) -> None:
    timings = [timed("eager", 100), timed("compiled", 400, prepared=30), timed("openvino", 200, prepared=1)]
    noise = timed("onnxruntime", 104)  # which is no gain
    choices = Measured(machine={}, weights="", timings=[*timings, noise], absent=()).choices()
    # Each picture saves 10 - 2.5 and 10 - 5 ms, by which 30 s and 1 s are made up.
    assert choices == [
        Choice("compiled", "32", 4, 4000), Choice("openvino", "32", 4, 200), Choice("eager", "32", 4, 0)
    ]  # fmt: skip
    few = ca.Classifier(*load_trained(run.directory), choices=[Choice("onnxruntime", "32", 2, 5), choices[-1]])
    few.predict([Image.new("L", (28, 28))] * 4)
    assert {choice.engine for choice in few.engines} == {"eager"}


@pytest.mark.parametrize("fails", ["prepare", "run"])
def test_an_engine_that_is_lost_is_told_and_the_next_takes_its_place(
    run: Run, tmp_path: Path, convatlas: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    folder = shutil.copytree(run.directory, tmp_path / "run")
    lost = HERE[-1]
    keep_choice(measured_here(load_trained(folder)[1], timed(lost.name, 9, batch_size=1)), folder)
    Image.new("L", (28, 28)).save(tmp_path / "0.png")
    before = convatlas("predict", folder, tmp_path / "0.png", "--engine", "eager")

    def broken(*_: object) -> None:
        raise RuntimeError("out of order\n  at line 3")

    monkeypatch.setattr(lost, fails, broken)
    said = convatlas("predict", folder, tmp_path / "0.png")
    assert said.status == 0
    assert said.err == (
        f"convatlas: the engine {lost.name} cannot be used: it does not take lenet (out of order); it was the fastest "
        "here, and the next takes its place\n"
    )
    assert said.out == before.out
    for words in (("predict", folder, tmp_path / "0.png"), ("evaluate", folder)):
        said = convatlas(*words, "--engine", lost.name)  # what is named is not replaced
        assert said.status == 2
        assert said.err == f"convatlas: the engine {lost.name} cannot be used: it does not take lenet (out of order)\n"


def test_what_cannot_be_asked_of_a_classifier_is_said(run: Run) -> None:
    with pytest.raises(InputError, match="there is no engine tensorrt; choose eager, compiled, openvino"):
        ca.load(run.directory, engine="tensorrt")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="a precision is for an engine that is named; add --engine"):
        ca.load(run.directory, precision="bf16")
    classifier = ca.load(run.directory, device="auto")
    with pytest.raises(ValueError, match="top is at least 1, and not 0"):
        classifier.predict(Image.new("L", (28, 28)), top=0)


def test_bench_takes_the_network_for_a_name_even_where_a_folder_has_it(
    run: Run, tmp_path: Path, convatlas: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(run.directory, tmp_path / "lenet")
    monkeypatch.chdir(tmp_path)
    quick = ("--engine", "eager", "--batch-size", "1", "--seconds", "0.01")
    said = convatlas("bench", "lenet", *quick, "--json")
    assert json.loads(said.out)["choices"][0]["engine"] == "eager"
    assert not (folder / "engine.json").exists()
    assert convatlas("bench", "./lenet", *quick).status == 0
    assert (folder / "engine.json").exists()


def test_a_classifier_of_zeros_agrees_with_itself() -> None:
    zeros = ca.create_model("resnet20").eval()
    torch.nn.init.zeros_(zeros.fc.weight)  # type: ignore[arg-type, union-attr]
    torch.nn.init.zeros_(zeros.fc.bias)  # type: ignore[arg-type, union-attr]
    measured = measure(zeros, IMAGES, batch_sizes=(1,), names=("eager",), seconds=0.01)
    assert [t.difference for t in measured.timings if t.precision == "32"] == [0]
    assert measured.choices()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--batch-size", "1000000000"), "the memory ran out; choose a smaller --batch-size"),
        (("--seconds", "inf"), "--seconds is a number above 0, and not inf"),
        (("--data", "digits"), "--data is for --int8; add it, or leave out --data"),
        (("--batch-size", "x"), "--batch-size cannot be 'x'; see convatlas bench --help"),
        (("--int8", "--most-loss", "nan"), "--most-loss is from 0 to 100 points, and not nan"),
    ],
)
def test_what_bench_cannot_do_is_a_sentence(
    convatlas: Callable[..., Any], words: tuple[str, ...], sentence: str
) -> None:
    said = convatlas("bench", "resnet20", "--engine", "eager", *words)
    assert said.status == 2
    assert said.err == f"convatlas: {sentence}\n"


def test_a_name_that_is_neither_a_run_nor_a_network_is_told_with_the_nearest(convatlas: Callable[..., Any]) -> None:
    said = convatlas("bench", "lenett")
    assert said.status == 2
    assert said.err.startswith("convatlas: there is no run and no network lenett (nearest: lenet, lenet5 ")


def test_a_choice_that_is_damaged_is_passed_over_and_told(
    run: Run, tmp_path: Path, convatlas: Callable[..., Any]
) -> None:
    folder = shutil.copytree(run.directory, tmp_path / "run")
    network = load_trained(folder)[1]
    keep_choice(measured_here(network, timed("eager", 1e-9), timed(HERE[-1].name, 1e9)), folder)
    quick = ("--engine", "eager", "--batch-size", "2", "--seconds", "0.01")
    said = convatlas("bench", folder, *quick)
    assert f"the fastest: {HERE[-1].name} in float32 with batches of 4, as was measured before" in said.out
    (folder / "engine.json").write_text('{"machine": 3')
    with pytest.warns(RuntimeWarning, match=r"engine\.json cannot be read, and is passed over; convatlas bench .*run"):
        assert ca.load(folder).choices == []


@pytest.mark.slow
def test_a_network_is_compiled_for_each_of_many_sizes() -> None:
    """Of which torch, left to itself, compiles eight of a class."""
    from torch._dynamo.utils import counters

    network = ca.create_model("lenet").eval()
    images = Preparation(size=(1, 28, 28), mean=(0.5,), std=(0.5,))
    before = counters["stats"]["unique_graphs"]
    for batch_size in range(1, 11):
        engine("compiled")(network, images, batch_size=batch_size)
    assert counters["stats"]["unique_graphs"] - before == 10


def test_an_engine_that_alone_is_asked_for_and_cannot_be_had_is_a_sentence(convatlas: Any, run: Run) -> None:
    for what in ("lenet", run.directory):
        said = convatlas("bench", what, "--engine", "int8", "--seconds", "0.01", "--batch-size", "1")
        assert said.status == 2
        assert "the engine int8 cannot be used: nothing was calibrated; convatlas bench RUN --int8 does it" in said.err


def test_an_engine_that_is_not_there_is_said_and_the_others_are_timed(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda _: None)
    monkeypatch.setattr(measuring, "fast_bf16", lambda _: False)
    measured = measure(network, IMAGES, batch_sizes=(1,), names=("eager", "openvino"), seconds=0.01)
    assert [t.engine for t in measured.timings] == ["eager"]
    assert "openvino cannot be found; pip install 'convatlas[openvino]'" in measured.absent[0].reason
    with pytest.raises(InputError, match=r"the engine openvino cannot be used: openvino cannot be found"):
        measure(network, IMAGES, batch_sizes=(1,), names=("openvino",), seconds=0.01)
    monkeypatch.setattr(engines, "can_compile", lambda _: False)
    with pytest.raises(InputError, match="torch finds no compiler here"):
        engine("compiled")(network, IMAGES, batch_size=1)


def test_a_network_that_an_engine_does_not_take_is_said(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(engines.Eager):
        """An engine that takes nothing."""

        name = "openvino"

        def prepare(self, network: engines.Prepared) -> None:  # noqa: ARG002
            raise RuntimeError("no such operation\n  at line 3")

    monkeypatch.setattr(measuring, "ENGINES", (engines.Eager, Broken))
    measured = measure(network, IMAGES, batch_sizes=(1,), seconds=0.01)
    assert measured.absent[0].reason.endswith("it does not take resnet20 (no such operation)")


@pytest.mark.skipif(len(HERE) < 3, reason="neither OpenVINO nor ONNX Runtime is installed")
def test_predict_takes_what_bench_found_for_full_batches_and_answers_alike(
    run: Run, tmp_path: Path, convatlas: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(run.directory, tmp_path / "run")
    said = convatlas("bench", folder, "--engine", HERE[-1].name, "--batch-size", "2", "--seconds", "0.01")
    assert said.status == 0, said.err
    assert re.search(r"the fastest: \w+ in \w+ with batches of 2; predict will use it here, from", said.out)
    assert {t["engine"] for t in json.loads((folder / "engine.json").read_text())["timings"]} == {
        "eager", HERE[-1].name
    }  # fmt: skip
    keep_choice(measured_here(load_trained(folder)[1], timed(HERE[-1].name, 1e9, batch_size=2)), folder)
    pictures = [Image.fromarray(picture) for picture in noise(5)[:, 0]]
    fast, plain = ca.load(folder), ca.load(folder, engine="eager")
    for one, other in zip(fast.predict(pictures, top=3), plain.predict(pictures, top=3), strict=True):
        assert one.labels == other.labels
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-4)
    assert [choice.engine for choice in fast.engines] == [HERE[-1].name]
    noise_files = [tmp_path / f"{i}.png" for i in range(len(pictures))]
    for picture, file in zip(pictures, noise_files, strict=True):
        picture.save(file)
    assert f"answered by {HERE[-1].name} in float32, 5 pictures" in convatlas("predict", folder, *noise_files).err
    assert "answered" not in convatlas("predict", folder, noise_files[0]).err
    monkeypatch.setattr(classifier, "PIXELS", 1)  # pictures so large that PyTorch would get one at a time
    large = ca.load(folder)
    large.predict(pictures)
    assert {choice.engine for choice in large.engines} == {HERE[-1].name, "eager"}  # of 5, the last has no full batch
    fast.predict(pictures[0])
    assert len(fast.engines) == 2  # a single picture is answered as it always was


def test_evaluate_counts_by_the_engine_that_is_named(run: Run, convatlas: Callable[..., Any]) -> None:
    plain = convatlas("evaluate", run.directory, "--json")
    for words in (("--engine", HERE[-1].name), ("--precision", "bf16")):
        other = convatlas("evaluate", run.directory, "--json", *words)
        assert other.status == 0, other.err
        found, expected = json.loads(other.out), json.loads(plain.out)
        assert abs(found["right"] - expected["right"]) <= 2
        assert found["total"] == expected["total"]
        assert found["loss"] == pytest.approx(expected["loss"], rel=0.05)
        assert words[1] in (found["engine"], found["precision"])
    assert convatlas("evaluate", run.directory, "--engine", "onnxruntime", "--precision", "bf16").status == 2


@pytest.mark.skipif(find_spec("nncf") is None, reason="nncf is not installed")
def test_eight_bits_are_checked_before_they_are_used_and_refused_where_they_lose_too_much(
    run: Run, tmp_path: Path, convatlas: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(run.directory, tmp_path / "run")
    words = ("bench", folder, "--int8", "--engine", "eager", "int8", "--batch-size", "4", "--seconds", "0.01")
    monkeypatch.setattr(quantizing.Checked, "loss", 1.5)
    said = convatlas(*words)
    assert said.status == 1
    assert "the fastest: eager" in said.out  # as of what else was asked for
    assert "1.50 points less, of which --most-loss allows 1; it is not used" in said.err
    assert not list(folder.glob("int8*"))
    with pytest.raises(InputError, match="nothing was calibrated; convatlas bench RUN --int8 does it"):
        ca.load(folder, engine="int8").predict(Image.new("L", (28, 28)))
    monkeypatch.undo()
    with monkeypatch.context() as learned:
        learned.setattr(quantizing.Checked, "commonest", 0)
        assert "commonest" not in convatlas(*words, "--most-loss", "5").err
    said = convatlas(*words, "--most-loss", "5")
    assert "of the commonest class, so that the network has learned little" in said.err  # as this one, in an epoch
    assert said.status == 0, said.err
    found = re.search(r"calibrated on (\d+) images .*: (\d+) of (\d+) others .*, and (\d+) in float32", said.err)
    assert found
    assert int(found[1]) + int(found[3]) == run.results["test"]["total"]
    monkeypatch.setattr(quantizing.Checked, "loss", 1.5)
    kept = {name: (folder / name).read_bytes() for name in engines.INT8}
    assert convatlas(*words).status == 1
    assert not list(folder.glob("int8*"))  # what was accepted before is not used either
    assert "int8" not in {choice.engine for choice in ca.load(folder).choices}
    monkeypatch.undo()
    for name, content in kept.items():
        (folder / name).write_bytes(content)
    digits = [Image.fromarray(picture) for picture in noise(5)[:, 0]]
    fast, plain = (ca.load(folder, engine=name).predict(digits) for name in ("int8", "eager"))
    for one, other in zip(fast, plain, strict=True):
        assert one.probability == pytest.approx(other.probability, abs=0.1)
    for name, content in kept.items():
        for damage in (content[:-2], content[:20] + bytes([content[20] ^ 1]) + content[21:]):
            (folder / name).write_bytes(damage)
            with pytest.raises(InputError, match=r"int8\.\w+ is damaged, or .*; convatlas bench RUN --int8 does it an"):
                ca.load(folder, engine="int8").predict(digits)
        (folder / name).write_bytes(content)
    digits[0].save(tmp_path / "0.png")
    for verb, *more in (("predict", folder, tmp_path / "0.png"), ("evaluate", folder)):
        said = convatlas(verb, *more, "--engine", "int8", "--precision", "bf16")
        assert said.status == 2
        assert said.err == "convatlas: int8 computes in eight bits; leave out --precision\n"
    bundle, network = load_trained(folder)
    bundle.save(folder, {name: 2 * value for name, value in network.state_dict().items()})  # as by a run that goes on
    with pytest.raises(InputError, match="the run has other weights by now than were calibrated; convatlas bench RUN"):
        ca.load(folder, engine="int8").predict(digits)


def test_the_doctor_names_every_engine(convatlas: Callable[..., Any]) -> None:
    said = convatlas("doctor", "--json")
    found = {each["what"]: each["found"] for each in json.loads(said.out)}
    assert found["engine eager"] == "ready"
    assert {f"engine {kind.name}" for kind in ENGINES} <= found.keys()
    assert convatlas("doctor").out.startswith("processor")
