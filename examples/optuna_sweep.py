"""A search by Optuna: each trial is a run in a folder of its own, and the best is the best on the validation images."""

import optuna

import convatlas as ca
from convatlas.errors import WorkError


def objective(trial: optuna.Trial) -> float:
    """The validation accuracy of a run, in per cent."""
    recipe = ca.Recipe(
        model="lenet",
        data="digits",
        epochs=20,
        batch_size=64,
        lr=trial.suggest_float("lr", 1e-3, 1e-1, log=True),
        weight_decay=trial.suggest_float("weight_decay", 1e-4, 1e-1, log=True),
        crop=trial.suggest_int("crop", 0, 3),
    )
    run = ca.train(recipe, output=f"runs/optuna/{trial.number}", quiet=True)
    trial.set_user_attr("run", str(run.directory))
    return float(run.results["val"]["accuracy"])


if __name__ == "__main__":
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
    study.optimize(objective, n_trials=10, catch=(WorkError,))  # a loss that explodes is a trial that failed
    best = study.best_trial
    print(f"{best.value:.2f} % of the validation images with {best.params}: {best.user_attrs['run']}")
