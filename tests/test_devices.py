"""What a process may have of its machine is what Linux grants it, be that less than the machine has."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from convatlas import devices
from convatlas.devices import can_compile, cores, free_memory


def test_a_compiler_that_does_not_work_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = can_compile("cpu")
    for compiler in ("/bin/false", str(tmp_path / "missing"), "c'"):
        monkeypatch.setenv("CXX", compiler)
        assert not can_compile("cpu")
    monkeypatch.setenv("CXX", "g++ -O1")
    assert can_compile("cpu") == found or not found


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system grants no single cores")
def test_the_cores_are_those_that_the_process_may_use() -> None:
    program = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
    program += "from convatlas.devices import cores; print(cores())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
    assert 1 <= cores() <= (os.cpu_count() or 1)


def test_the_memory_is_what_the_control_groups_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = int(psutil.virtual_memory().available)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": free})())
    monkeypatch.setattr(devices, "CONTROL_GROUPS", tmp_path)
    monkeypatch.setattr(devices, "PROCESS_GROUPS", tmp_path / "cgroup")
    assert free_memory() == free  # without control groups
    (tmp_path / "cgroup").write_text("0::/job/step\n")
    step = tmp_path / "job" / "step"
    step.mkdir(parents=True)
    assert free_memory() == free
    (step / "memory.max").write_text("max\n")
    for folder in (step, step.parent):
        (folder / "memory.current").write_text("3000\n")
        (folder / "memory.stat").write_text("anon 100\ninactive_file 500\n")  # of which the last can be taken back
    assert free_memory() == free
    (step.parent / "memory.max").write_text("4000\n")
    assert free_memory() == 1500
    (step / "memory.max").write_text("2000\n")
    assert free_memory() == 0
