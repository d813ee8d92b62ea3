"""What a run shows while it goes on: one line a fact and a bar, on stderr. Results go to stdout elsewhere."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from convatlas.training.run import Row


class Display:
    """Lines and bars on stderr, or nothing at all where it is quiet."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet, highlight=False)
        self.bar: Progress | None = None
        self.task: TaskID | None = None

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self.console.print(line, markup=False, soft_wrap=True)

    @contextmanager
    def decoding(self) -> Iterator[None]:
        """While images are decoded: `decoded` moves the bar."""
        with Progress(
            TextColumn("reading images"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
            console=self.console, transient=True, disable=not self.console.is_terminal,
        ) as self.bar:  # fmt: skip
            self.task = self.bar.add_task("", total=None)
            yield
        self.bar = None

    def decoded(self, done: int, total: int) -> None:
        """So many images of so many are decoded."""
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=done, total=total)

    @contextmanager
    def training(self, *, epochs: int, steps: int, done: int, compiled: bool) -> Iterator[None]:
        """While the network learns: `step` moves the bar, and `epoch` prints a line."""
        with Progress(
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"), BarColumn(bar_width=24),
            TextColumn("{task.fields[standing]}"), TimeRemainingColumn(),
            console=self.console, transient=True, refresh_per_second=5, disable=not self.console.is_terminal,
        ) as self.bar:  # fmt: skip
            self.task = self.bar.add_task(
                "", total=epochs * steps, completed=done, epochs=epochs, epoch=done // steps + 1,
                standing="compiling" if compiled else "starting",
            )  # fmt: skip
            yield
        self.bar = None

    def step(self, *, done: int, epoch: int, sums: Mapping[str, float], world: int) -> None:
        """`done` steps of the run are made; the sums are of one of `world` processes, in this epoch so far."""
        if self.bar is not None and self.task is not None:
            mine = sums["images"] / world
            loss, accuracy, speed = sums["loss"] / mine, sums["right"] / mine, sums["images"] / sums["seconds"]
            standing = f"loss {loss:.4f}  accuracy {accuracy:.1%}  {speed:,.0f} images/s"
            self.bar.update(self.task, completed=done, epoch=epoch, standing=standing)

    def epoch(self, row: Row, *, epochs: int, best: bool) -> None:
        """Print the line of an epoch; of many, some twenty are printed. A dot marks the best so far."""
        number = int(row["epoch"])
        if number % max(1, epochs // 20) and number != epochs:
            return
        self.say(
            f"epoch {number:>{len(str(epochs))}}/{epochs}  loss {row['train_loss']:.4f}  "
            f"train {row['train_accuracy']:5.2f} %  validation {row['val_accuracy']:5.2f} %"
            f"{' ●' if best else '  '} {row['images_per_second']:8,.0f} images/s"
        )
