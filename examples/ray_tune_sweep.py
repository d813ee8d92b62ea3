"""A search by Ray Tune: several runs at once, each in a process and a folder of its own, the best by validation."""

from pathlib import Path
from typing import Any

import ray
from ray import tune

import convatlas as ca

RUNS = Path("runs/ray").resolve()  # each trial works in a folder of Ray's


def trial(choice: dict[str, Any]) -> dict[str, Any]:
    """The validation accuracy of a run, in per cent, and where the run is."""
    recipe = ca.Recipe(model="lenet", data="digits", epochs=20, batch_size=64, **choice)
    run = ca.train(recipe, output=RUNS / tune.get_context().get_trial_id(), quiet=True)
    return {"val_accuracy": run.results["val"]["accuracy"], "run": str(run.directory)}


if __name__ == "__main__":
    ray.init(include_dashboard=False)
    tuner = tune.Tuner(
        tune.with_resources(trial, {"cpu": 1}),  # {"gpu": 1} for a GPU each
        param_space={"lr": tune.loguniform(1e-3, 1e-1), "weight_decay": tune.loguniform(1e-4, 1e-1)},
        tune_config=tune.TuneConfig(metric="val_accuracy", mode="max", num_samples=8),
    )
    best = tuner.fit().get_best_result()
    assert best.metrics is not None
    print(f"{best.metrics['val_accuracy']:.2f} % of the validation images with {best.config}: {best.metrics['run']}")
