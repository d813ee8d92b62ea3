"""Several processes learn what one would."""

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
from torch import distributed, nn
from torch.nn import functional as F
from trained import QUICK, go, without_time

import convatlas as ca
from convatlas.errors import InputError
from convatlas.training.processes import synchronize
from convatlas.training.run import Run

PLAIN = replace(QUICK, device="cpu", epochs=2, schedule="constant", warmup=0.0, precision="32")


def free_port() -> str:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return str(found.getsockname()[1])


def gradients_over_two(rank: int, port: str, folder: str) -> None:
    """Of half a batch in each process, beside those of the whole batch in one."""
    os.environ.update(MASTER_ADDR="localhost", MASTER_PORT=port, RANK=str(rank), WORLD_SIZE="2")
    distributed.init_process_group("gloo")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    images, labels = torch.randn(10, 3, 8, 8, dtype=torch.float64), torch.randint(0, 5, (10,))
    one = ca.create_model("resnet20", num_classes=5).double()
    two = ca.create_model("resnet20", num_classes=5).double()
    two.load_state_dict(one.state_dict())
    synchronize(two, torch.device("cpu"))
    shared = nn.parallel.DistributedDataParallel(two)
    F.cross_entropy(one(images), labels).backward()
    mine = slice(0, 6) if rank == 0 else slice(6, 10)
    (F.cross_entropy(shared(images[mine]), labels[mine]) * len(labels[mine]) * 2 / 10).backward()
    pairs = zip(one.named_parameters(), two.parameters(), strict=True)
    apart = max(float((p.grad - q.grad).abs().max() / p.grad.abs().max()) for (_, p), q in pairs)
    buffers = zip(one.buffers(), two.buffers(), strict=True)
    apart = max([apart, *(float((p - q).abs().max()) for p, q in buffers)])
    Path(folder, str(rank)).write_text(str(apart))
    distributed.destroy_process_group()


def test_a_network_normalised_over_two_processes_has_the_gradients_of_one(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(gradients_over_two, (free_port(), str(tmp_path)), nprocs=2)
    assert max(float((tmp_path / rank).read_text()) for rank in "01") < 1e-10


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return go(PLAIN, tmp_path_factory.mktemp("alone") / "run")


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")
@pytest.mark.parametrize("sharded", [False, True])
def test_two_processes_learn_what_one_does(alone: Run, tmp_path: Path, sharded: bool) -> None:
    variables = dict(os.environ)
    run = ca.train(replace(PLAIN, sharded=sharded), output=tmp_path / "run", devices=2, quiet=True)
    assert dict(os.environ) == variables
    for ours, theirs in zip(without_time(run.metrics), without_time(alone.metrics), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    assert run.results["test"] == pytest.approx(alone.results["test"], rel=1e-4)
    assert run.results["status"] == "done"
    if sharded:  # what two have learned goes on in one
        (run.directory / "results.json").unlink()
        assert ca.resume(run.directory, quiet=True).results["test"] == pytest.approx(alone.results["test"], rel=1e-4)


def test_more_devices_than_there_are_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"this machine has \d+ cores?, and --devices asks for 1000"):
        ca.train(PLAIN, output=tmp_path / "run", devices=1000)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_process_that_is_killed_under_torchrun_comes_back_and_the_run_ends(tmp_path: Path) -> None:
    recipe = replace(PLAIN, epochs=40)
    whole = go(recipe, tmp_path / "whole")
    words = ["--epochs", "40", "--batch-size", "256", "--schedule", "constant", "--warmup", "0", "--device", "cpu"]
    code = "from convatlas.training import loop; loop.SAVE_EVERY = 0.5; from convatlas.cli import main; main()"
    script = tmp_path / "script.py"
    script.write_text(code)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", "2"]
    child = subprocess.Popen([*launcher, str(script), "train", *words, "--output", str(tmp_path / "parts")])
    until = time.monotonic() + 300
    while len(Run(tmp_path / "parts").metrics) < 5:
        assert time.monotonic() < until
        assert child.poll() is None
        time.sleep(0.1)
    workers = [p for p in psutil.Process(child.pid).children(recursive=True) if "script.py" in " ".join(p.cmdline())]
    assert len(workers) == 2
    os.kill(workers[-1].pid, signal.SIGKILL)
    assert child.wait(timeout=300) == 0
    parts = Run(tmp_path / "parts")
    assert parts.results["status"] == "done"
    assert len(parts.metrics) == 40
    assert parts.metrics[-1]["val_accuracy"] == pytest.approx(whole.metrics[-1]["val_accuracy"], abs=3)
