"""Each model's own recipe: a modern, quick one, for when nothing else is asked for. One row a model."""

from typing import Any

HEADS = (
    "epochs", "batch_size", "optimizer", "lr", "weight_decay", "schedule", "warmup",
    "label_smoothing", "rubbish", "clip", "fit", "crop", "precision", "compile",
)  # fmt: skip
ROWS = {
    #              epochs batch optimizer lr    decay schedule    warm smooth rubbish clip fit     crop bits    compile
    "lenet":      (30,    256,  "adamw",  8e-3, 1e-2, "onecycle", 0.2, 0.0,   0.0,    0.0, "crop", 2,   "auto", True),
    "lenet5":     (15,    64,   "adamw",  3e-3, 1e-2, "onecycle", 0.2, 0.0,   1.0,    0.0, "pad",  1,   "32",   False),
    "resnet":     (30,    128,  "sgd",    0.1,  5e-4, "onecycle", 0.2, 0.1,   0.0,    0.0, "crop", 4,   "auto", False),
    "resnet110":  (30,    128,  "sgd",    0.05, 5e-4, "onecycle", 0.3, 0.1,   0.0,    1.0, "crop", 4,   "auto", False),
    "resnet1202": (30,    128,  "sgd",    0.05, 5e-4, "onecycle", 0.3, 0.1,   0.0,    1.0, "crop", 4,   "auto", False),
    "plain":      (30,    128,  "sgd",    0.05, 5e-4, "onecycle", 0.3, 0.1,   0.0,    1.0, "crop", 4,   "auto", False),
}  # fmt: skip

# "The values of the input pixels are normalized so that the background level (white) corresponds to a value of
# -0.1 and the foreground (black) corresponds to 1.175" (LeCun et al. 1998, Sec. II-B): 1.275 x − 0.1 for x in 0…1.
PIXELS = {"lenet5": {"mean": (0.1 / 1.275,), "std": (1 / 1.275,)}}

MOST = 10
"""Times its own number of epochs a model trains at most, where the images are few."""
STEPS = 2000
"""It trains more epochs than its own number until there are as many steps."""


def own(model: str) -> dict[str, Any]:
    """The row of `model`: its own, or that of the longest name which it begins with, or else resnet's."""
    row = max((name for name in ROWS if model.startswith(name)), key=len, default="resnet")
    return dict(zip(HEADS, ROWS[row], strict=True)) | PIXELS.get(model, {})


def own_epochs(model: str, *, images: int, batch_size: int) -> int:
    """How many epochs `model` trains on that many images: its own number, or more where they are few."""
    epochs = int(own(model)["epochs"])
    steps = -(-images // batch_size)
    return min(MOST * epochs, max(epochs, -(-STEPS // steps)))
