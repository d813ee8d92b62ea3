"""A profile says where the time of some steps went, and changes nothing else."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from trained import QUICK, equal

import convatlas as ca
from convatlas.errors import InputError
from convatlas.training.profiling import profiling


def test_a_profile_names_the_parts_of_a_step_and_learns_the_same(tmp_path: Path) -> None:
    recipe = replace(QUICK, batch_size=64)
    run, profiled = (ca.train(recipe, output=tmp_path / str(p), profile=p, quiet=True) for p in (False, True))
    assert equal(profiled, run)
    assert not (run.directory / "profile").exists()
    page = (profiled.directory / "profile" / "profile.md").read_text()
    shares = re.findall(r"^\| (\w[\w ]*) \| ([\d.]+) \| ([\d.]+)% \|$", page, flags=re.MULTILINE)
    parts = ["data", "forward", "backward", "optimiser", "logging", "validation", "the rest"]
    assert [name for name, _, _ in shares] == parts
    assert sum(float(share) for _, _, share in shares) == pytest.approx(100, abs=0.5)
    times = {name: float(time) for name, time, _ in shares}
    assert f"Most of it is {max(times, key=times.__getitem__)}: " in page
    assert "aten::convolution_backward" in page
    trace = json.loads((profiled.directory / "profile" / "trace.json").read_text())
    assert sum(event.get("name") == "convatlas: forward" for event in trace["traceEvents"]) >= 20


def test_of_a_short_run_the_steps_that_there_are_are_traced(tmp_path: Path) -> None:
    run = ca.train(replace(QUICK, epochs=1), output=tmp_path / "run", profile=True, quiet=True)  # of 5 steps
    page = (run.directory / "profile" / "profile.md").read_text()
    assert "Over 4 steps, after 1 other: " in page
    trace = json.loads((run.directory / "profile" / "trace.json").read_text())
    named = [event["name"] for event in trace["traceEvents"] if event.get("cat") == "user_annotation"]
    assert named.count("convatlas: forward") == 4


@pytest.mark.parametrize(("steps", "traced"), [(5, 0), (8, 3)])
def test_of_a_run_that_is_stopped_the_steps_so_far_are_told(tmp_path: Path, steps: int, traced: int) -> None:
    def stopped() -> None:
        with profiling(tmp_path / "profile", steps=100) as after_step:
            for _ in range(steps):
                after_step()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    page = tmp_path / "profile" / "profile.md"
    assert page.read_text().count(f"Over {traced} steps, after 5 others: ") if traced else not page.parent.exists()


def test_a_run_that_is_too_short_for_a_profile_is_refused_before_it_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--profile takes a run of 4 steps or more, and this has 2; choose more --ep"):
        ca.train(replace(QUICK, epochs=1, batch_size=640), output=tmp_path / "run", profile=True, quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_profile_of_several_processes_is_refused(tmp_path: Path, convatlas: Callable[..., Any]) -> None:
    said = convatlas("train", "--profile", "--devices", "2", "--output", tmp_path / "run")
    assert said.status == 2
    assert said.err == "convatlas: --profile looks at one process; leave out --devices\n"
