"""What a probe found, as the page of a network shows it: a row for each layer, with places on an axis of tens."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil, floor, log10

from convatlas.explanation.probe import Probe, Signal
from convatlas.explanation.table import digits, probed_heading, probed_without, share

USUAL = 1e-3
"""The ratio of update to weight at which layers learn; a hundred times off it is far."""


@dataclass(frozen=True, slots=True)
class Line:
    """A layer, or a block."""

    label: str
    link: str
    """To the layer on the page; "" for a block, which opens, and for what is none there, as a dropout."""
    activation: str
    gradient: str
    """`0.107 ± 0.187`; "" where nothing comes back."""
    activation_at: float | None
    gradient_at: float | None
    """Per cent of the axis: where the deviations are; None where there is none, or it is 0."""
    dead: str
    update: str
    far: bool
    """Whether the ratio of update to weight is far from the usual."""
    parts: "tuple[Line, ...]" = ()


@dataclass(frozen=True, slots=True)
class Signals:
    """The section of the page."""

    heading: str
    least: int
    """Where the axis begins, as a power of ten."""
    most: int
    """Where it ends."""
    lines: tuple[Line, ...]
    left_out: str
    """The layers that are not among them, and why; "" for none."""


def signals(probe: Probe, links: Mapping[str, str]) -> Signals:
    """The stages of the network with their layers; `links` are places on the page, by names."""
    deviations = [one for signal in probe.signals for one in (signal.activation_std, signal.gradient_std) if one]
    least = floor(log10(min(deviations, default=1)))
    most = max(ceil(log10(max(deviations, default=1))), least + 1)

    def at(deviation: float | None) -> float | None:
        return 100 * (log10(deviation) - least) / (most - least) if deviation else None

    def line(signal: Signal, label: str, parts: tuple[Line, ...] = ()) -> Line:
        return Line(
            label=label,
            link="" if parts else links.get(signal.name, ""),
            activation=spread(signal.activation_mean, signal.activation_std),
            gradient=spread(signal.gradient_mean, signal.gradient_std),
            activation_at=at(signal.activation_std),
            gradient_at=at(signal.gradient_std),
            dead=share(round(1e6 * signal.dead), 10**6),
            update=short(signal.update),
            far=signal.update is not None and not USUAL / 100 <= signal.update <= USUAL * 100,
            parts=parts,
        )

    def lines() -> Iterator[Line]:
        for whole, within in probe.blocks(1):
            inside = within if len(within) > 1 else ()
            yield line(whole, whole.name, tuple(line(one, within_name(one.name)) for one in inside))

    return Signals(probed_heading(probe), least, most, tuple(lines()), probed_without(probe))


def within_name(name: str) -> str:
    """A layer's name without its stage's; of the stage itself, what it answers."""
    return name.partition(".")[2] or "all of it"


def spread(mean: float | None, deviation: float | None) -> str:
    """`0.107 ± 0.187`; "" for nothing."""
    return "" if mean is None or deviation is None else f"{short(mean)} ± {short(deviation)}"


def short(number: float | None) -> str:
    """Three digits: `0.0123`, `−1.23e−9`."""
    return digits(number).replace("e-0", "e-").replace("-", "−")
