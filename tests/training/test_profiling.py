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


def test_a_profile_names_the_parts_of_a_step_and_learns_the_same(tmp_path: Path) -> None:
    recipe = replace(QUICK, batch_size=64)
    run, profiled = (ca.train(recipe, output=tmp_path / str(p), profile=p, quiet=True) for p in (False, True))
    assert equal(profiled, run)
    assert not (run.directory / "profile").exists()
    page = (profiled.directory / "profile" / "profile.md").read_text()
    shares = re.findall(r"^\| (\w[\w ]*) \| ([\d.]+) \| ([\d.]+)% \|$", page, flags=re.MULTILINE)
    assert [name for name, _, _ in shares] == ["data", "forward", "backward", "optimiser", "logging", "the rest"]
    assert sum(float(share) for _, _, share in shares) == pytest.approx(100, abs=0.5)
    times = {name: float(time) for name, time, _ in shares}
    assert f"Most of it is {max(times, key=times.__getitem__)}: " in page
    assert "aten::convolution_backward" in page
    trace = json.loads((profiled.directory / "profile" / "trace.json").read_text())
    assert sum(event.get("name") == "convatlas: forward" for event in trace["traceEvents"]) >= 20


def test_a_run_that_is_too_short_for_a_profile_is_refused_before_it_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--profile traces steps up to the 25th, and this run has \d+; choose more"):
        ca.train(replace(QUICK, epochs=1), output=tmp_path / "run", profile=True, quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_profile_of_several_processes_is_refused(tmp_path: Path, convatlas: Callable[..., Any]) -> None:
    said = convatlas("train", "--profile", "--devices", "2", "--output", tmp_path / "run")
    assert said.status == 2
    assert said.err == "convatlas: --profile looks at one process; leave out --devices\n"
