"""How a run ends: the best weights are tested, once, and the results and the report are written."""

from typing import Any

from convatlas.training import machine as machines
from convatlas.training.evaluation import evaluate
from convatlas.training.job import Job
from convatlas.training.progress import Display
from convatlas.training.run import Row, Run
from convatlas.weights.bundle import load_trained


def finish(job: Job, run: Run, best: Row, *, epochs: int, interrupted: bool, display: Display) -> Run:
    """Test the best weights, once and only at the end, and write the results and the report."""
    from convatlas.training.report import write_report

    _, network = load_trained(run.directory)
    device = job.machine.device
    val = evaluate(network, job.splits.val, job.bundle.images, device=device)
    results: dict[str, Any] = {
        "status": "interrupted" if interrupted else "done",
        "model": job.recipe.model,
        "data": job.recipe.data,
        "parameters": sum(p.numel() for p in job.network.parameters()),
        "images": {
            "train": len(job.splits.train),
            "val": len(job.splits.val),
            "test": 0 if job.splits.test is None else len(job.splits.test),
            "skipped": len(job.splits.skipped),
        },
        "split": job.splits.how,
        "epochs": epochs,
        "best_epoch": best["epoch"],
        "val": val.scores(),
        "test": None,
        "note": "the best epoch was chosen on the validation images",
        "machine": machines.described(job.machine),
        "versions": machines.versions(),
    }
    pixels, answers = job.splits.val, val
    if not interrupted and epochs < (job.recipe.epochs or epochs):
        results["note"] += f", and after {job.recipe.patience} that were no better the run ended"
    if interrupted:
        results["note"] += "; the run was interrupted, and the test images were not read"
    elif job.splits.test is None:
        results["note"] += "; the data set has no test images"
    else:
        pixels, answers = job.splits.test, evaluate(network, job.splits.test, job.bundle.images, device=device)
        results["test"] = answers.scores()
        results["note"] += ", and the test images were read once, at the end, in float32"
    write_report(
        run, recipe=job.recipe, bundle=job.bundle, splits=job.splits, results=results, pixels=pixels, answers=answers
    )  # fmt: skip
    run.write_results(results)  # last: a run that has them has ended
    display.say(f"report: {run.directory / 'report.html'}")
    return run
