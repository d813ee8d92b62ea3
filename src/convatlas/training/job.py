"""What is looked at before a run starts: all that can be refused is refused here, before anything is written."""

import math
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch

from convatlas.data import Preparation, Splits, load_splits, open_data
from convatlas.data.augmentation import Augmentation
from convatlas.data.batches import ALONE, Shard
from convatlas.data.chance import seed_torch
from convatlas.data.held import SAMPLE, Held
from convatlas.data.shards import Shards
from convatlas.data.source import Source
from convatlas.data.tables import is_pattern
from convatlas.errors import InputError
from convatlas.layers.init import he_, xavier_
from convatlas.models import build, model_card
from convatlas.network import Network
from convatlas.training import machine as machines
from convatlas.training.freezing import check_freeze
from convatlas.training.machine import Machine
from convatlas.training.progress import Display
from convatlas.training.recipe import AUXILIARY, Recipe
from convatlas.training.recipes import own_epochs
from convatlas.weights.bundle import Bundle, bundle_of
from convatlas.weights.load import find_file, load_weights
from convatlas.wording import shown, some

FEW = 50
"""Images of which a share says little: one of them is two per cent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A run before it starts: everything that can be refused has been looked at."""

    recipe: Recipe
    """With nothing left open."""
    splits: Splits
    augmentation: Augmentation
    bundle: Bundle
    network: Network
    machine: Machine


def prepare(recipe: Recipe, display: Display, shard: Shard = ALONE, *, begun: bool = False) -> Job:
    """Read the data, build the network, choose for the machine, and fill in what the recipe leaves open.

    A run that has `begun` has its weights in a checkpoint, and does not ask for those that it began with.
    """
    card = model_card(recipe.model)
    if recipe.weights is not None and not begun:
        find_file(recipe.weights)  # what is not there is said before the data are read
        recipe = as_trained(recipe)
    machine = machines.choose(recipe)
    # A change or an image size that the network cannot take is refused before the data is read.
    channels = recipe.in_channels or card.input_size[0]
    with torch.device("meta"):  # where no weights are drawn
        trial = make_network(recipe, 2, channels)
    side = recipe.size or (trial.least_size if trial.fixed_size else card.input_size[1])
    size = (channels, side, side)
    check_size(trial, size)
    check_freeze(trial, recipe)
    if trial.auxiliary is None and recipe.auxiliary_weight != AUXILIARY:
        raise InputError(
            f"{recipe.model} has no auxiliary classifiers that auxiliary_weight could be of; googlenet has them, with "
            "--changes auxiliary True"
        )

    source = open_data(recipe.data, label_column=recipe.label_column, loading=recipe.loading)
    with display.decoding():
        splits = load_splits(
            source, size=size, fit=recipe.fit, validation=recipe.validation, strict=recipe.strict,
            loading=recipe.loading, workers=recipe.workers, windows=recipe.resized_crop > 0,
            cache=Path(recipe.cache).expanduser() if recipe.cache else None, on_images=display.decoded,
        )  # fmt: skip
    mean, std, measured = recipe.mean, recipe.std, None
    if mean is None or std is None:
        measured = splits.train.moments()
        mean, std = mean or measured[0], std or measured[1]
    recipe = replace(
        recipe,
        data=whole_path(recipe.data),
        cache=whole_folder(recipe.cache),
        in_channels=size[0],
        size=size[1],
        epochs=recipe.epochs or own_epochs(recipe.model, images=len(splits.train), batch_size=recipe.batch_size),
        mean=over_channels(mean, size[0]),
        std=over_channels(std, size[0]),
        flip=not (source.handwriting or splits.train.grey()) if recipe.flip is None else recipe.flip,
        precision=machine.precision,
    )
    assert recipe.epochs is not None
    count = len(splits.train) * recipe.epochs
    compiled = recipe.compile and machines.worth_compiling(trial, size, images=count, device=machine.device)
    machine = replace(machine, compiled=compiled)
    assert recipe.mean is not None
    assert recipe.std is not None
    augmentation = augmentation_of(recipe, splits.train)
    images = Preparation(size=size, fit=recipe.fit, mean=recipe.mean, std=recipe.std)
    bundle = Bundle(model=recipe.model, changes=recipe.changes, classes=splits.classes, images=images)

    seed_torch(recipe.seed, "weights")
    network = make_network(recipe, len(splits.classes), channels)
    if recipe.weights is not None and not begun:
        begin_with(recipe.weights, network, splits.classes, display)
    recipe = replace(
        recipe,
        accumulate=parts_of(recipe, network, size, len(splits.train), shard.world, machine),
    )
    display.say(
        f"{recipe.model}: {sum(p.numel() for p in network.parameters()):,} parameters, "
        f"{card.paper.authors.split(',')[0]} {card.year}"
    )
    display.say(f"{source.name}: {source.layout}; {described(splits)}")
    display.say(f"images: {splits.held}")
    if recipe.weights is not None and not begun and measured is not None and bundle_of(recipe.weights) is None:
        display.say(
            f"{recipe.weights} does not say how images were prepared when it was trained: mean and deviation are those "
            "of these images; --mean and --std say otherwise"
        )
    if measured is not None and splits.train.sampled and len(splits.train) > SAMPLE:
        display.say(f"the mean and deviation of their pixels are those of {SAMPLE:,}, {splits.train.sampled}")
    say_doubts(source, splits, display)
    say_machine(machine, recipe, shard, display)
    return Job(recipe=recipe, splits=splits, augmentation=augmentation, bundle=bundle, network=network, machine=machine)


def augmentation_of(recipe: Recipe, pixels: Held) -> Augmentation:
    """What the recipe does to the training images. Raises InputError for lighting of grey ones."""
    return Augmentation(
        flip=bool(recipe.flip), crop=recipe.crop, resized_crop=recipe.resized_crop, policy=recipe.policy,
        rand_operations=recipe.rand_operations, rand_magnitude=recipe.rand_magnitude, colour=recipe.colour,
        lighting=recipe.lighting, components=pixels.components() if recipe.lighting else None, erase=recipe.erase,
        erasing=recipe.erasing, mixup=recipe.mixup, cutmix=recipe.cutmix,
    )  # fmt: skip


def parts_of(
    recipe: Recipe, network: Network, size: tuple[int, int, int], images: int, processes: int, machine: Machine
) -> int:
    """In how many parts a process learns its share of a step: as the recipe says, or as few as its memory takes.

    Raises InputError where memory is too small for that, and where a part would be left without an image.
    """
    smallest = images // -(-images // recipe.batch_size)  # step of an epoch
    share = -(-min(recipe.batch_size, images) // processes)
    image = machines.bytes_an_image(network, size, share)
    free = machines.free_on(machine.device) // (processes if machine.device == "cpu" else 1)
    parts = recipe.accumulate or max(1, math.ceil(share * image / (0.8 * free)))
    if -(-share // parts) * image > free or parts > share:
        raise InputError(
            f"a batch of {-(-share // parts):,} images takes about {-(-share // parts) * image / 2**30:.1f} GB, and "
            f"{free / 2**30:.1f} GB are free; choose a smaller --size, or a larger --accumulate"
        )
    if parts * processes > smallest:
        raise InputError(
            f"{some(smallest, 'image')} a step cannot be shared by {some(processes, 'process', 'processes')} in "
            f"{some(parts, 'part')} each; choose a larger --batch-size"
        )
    return parts


def described(splits: Splits) -> str:
    """The parts and their sizes in one line."""
    test = f", {len(splits.test):,} to test" if splits.test is not None else ", none to test"
    return (
        f"{len(splits.classes)} classes; {len(splits.train):,} images to train, {len(splits.val):,} to validate{test} "
        f"({splits.how})"
    )


def say_doubts(source: Source | Shards, splits: Splits, display: Display) -> None:
    """Say what a user would want to know before the training: files passed over, and parts too small to measure on."""
    if splits.skipped:
        first = splits.skipped[0]
        display.say(
            f"passed over {some(len(splits.skipped), 'image')} that cannot be read; "
            f"the first: {first.name} ({first.reason})"
        )
    if source.ignored:
        endings = sorted({Path(name).suffix.lower() or "no ending" for name in source.ignored})
        display.say(f"passed over {some(len(source.ignored), 'file')} that by name are no images: {shown(endings)}")
    for part, pixels in (("validate", splits.val), ("test", splits.test)):
        if pixels is not None and len(pixels) < FEW:
            display.say(
                f"only {some(len(pixels), 'image')} to {part}: one is {100 / len(pixels):.1f} % of the accuracy"
            )


def say_machine(machine: Machine, recipe: Recipe, shard: Shard, display: Display) -> None:
    """Say where a run computes, and how a step is shared."""
    shared = f", {shard.world} processes" if shard.world > 1 else ""
    parts = f", each step in {recipe.accumulate} parts" if recipe.accumulate != 1 else ""
    display.say(f"{machine}{shared}{parts}")


def over_channels(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """A value a channel, of which one alone stands for all."""
    return values * channels if len(values) == 1 else values


def whole_path(data: str) -> str:
    """The whole path, so that a recipe repeats a run from any folder; what is no path stays as it is."""
    path = Path(data).expanduser()
    return str(path.resolve()) if path.exists() else str(path.absolute()) if is_pattern(data) else data


def whole_folder(folder: str | None) -> str | None:
    """The folder from the root on, so that a run may be resumed from elsewhere."""
    return None if folder is None else str(Path(folder).expanduser().absolute())


def make_network(recipe: Recipe, num_classes: int, in_channels: int) -> Network:
    """The recipe's network with its first weights."""
    if own := {"in_channels", "num_classes"} & recipe.changes.keys():
        raise InputError(f"{own.pop()} is none of --changes: channels are --in-channels, and classes those of the data")
    network = build(recipe.model, num_classes=num_classes, in_channels=in_channels, **recipe.changes)
    if recipe.init != "paper":
        {"xavier": xavier_, "he": he_}[recipe.init](network)
    return network


def as_trained(recipe: Recipe) -> Recipe:
    """The recipe with what it leaves open taken from the run that its weights are of: how images were prepared there.

    Weights that lie in no run's folder do not say that.
    """
    bundle = None if recipe.weights is None else bundle_of(recipe.weights)
    if bundle is None:
        return recipe
    images = bundle.images
    return replace(
        recipe,
        in_channels=recipe.in_channels or images.size[0],
        size=recipe.size or images.size[1],
        mean=recipe.mean or images.mean,
        std=recipe.std or images.std,
        fit=images.fit if recipe.fit == Recipe(model=recipe.model).fit else recipe.fit,
        changes={**bundle.changes, **recipe.changes} if bundle.model == recipe.model else recipe.changes,
        weights=whole_path(recipe.weights or ""),
    )


def asked_otherwise(asked: Recipe, whole: Recipe) -> str:
    """What a recipe asks for otherwise than a run's whole one has it; empty: the run is what is asked for."""
    asked, channels = as_trained(asked), whole.in_channels or 1
    written = replace(
        asked,
        data=whole_path(asked.data),
        cache=whole_folder(asked.cache),
        mean=asked.mean and over_channels(asked.mean, channels),
        std=asked.std and over_channels(asked.std, channels),
        precision=whole.precision if asked.precision == "auto" else asked.precision,
    )
    return written.differences(whole)


def begin_with(weights: str, network: Network, classes: tuple[str, ...], display: Display) -> None:
    """Fill the network with trained weights; what is new in it, or adapted, is said.

    The classifier is new where the classes are others, even if there are as many. Raises InputError where the weights
    are of another network.
    """
    display.say(f"begins with the weights of {weights}")
    load_weights(network, weights, new_head=True, adapt_input=True)
    bundle = bundle_of(weights)
    if bundle is not None and bundle.classes != classes and len(bundle.classes) == len(classes):
        network.reset_head(len(classes))
        display.say(f"a new classifier, since the weights know other classes: {shown(bundle.classes, 3)}")


def check_size(network: Network, size: tuple[int, int, int]) -> None:
    """Raise InputError where the network cannot take images of `size`, with what to choose."""
    try:
        network.check_input(size)
    except ValueError as error:
        made_for = network.fixed_size and any(f.name == "size" for f in fields(network.spec))
        advice = f"--changes size {size[1]} makes it for these" if made_for else "choose another --size"
        raise InputError(f"{error}; {advice}") from error
