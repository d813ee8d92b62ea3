"""What a unit sees of the image: exact intervals, carried through every operation.

Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning"; Araujo, Norris and Sim 2019, "Computing
receptive fields of convolutional neural networks". These have a unit see what the one before it sees, a stride on.
Behind a transposed convolution, or where a map is resized, units see by turns more and less: it is the unit a turn
before that sees the same.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, floor, gcd, lcm
from typing import NamedTuple

from convatlas.explanation.arithmetic import Resizing, Window

Axes = tuple[int, ...]
"""Which directions of the image a dimension of a tensor runs along: (), (0,) down, (1,) across, (0, 1) both, as
tokens do."""


class Pixels(NamedTuple):
    """From one pixel to another, both included. Outside of the image they are padding."""

    first: int
    last: int
    whole: bool = True
    """False where units that see nothing are among those that it comes of, such as those of a frame."""

    @property
    def size(self) -> int:
        """How many they are."""
        return self.last - self.first + 1

    def moved(self, pixels: int) -> "Pixels":
        """So many pixels on."""
        return Pixels(self.first + pixels, self.last + pixels, self.whole)


def hull(parts: Iterable[Pixels | None]) -> Pixels | None:
    """From the first pixel of all parts to the last."""
    given = list(parts)
    if not (seen := [part for part in given if part]):
        return None
    whole = len(seen) == len(given) and all(part.whole for part in seen)
    return Pixels(min(part.first for part in seen), max(part.last for part in seen), whole)


LONG = 512
"""Of units: a turn is not longer than that, or than the map."""


def cut(turn: int, units: int) -> int:
    """The length of a turn of a map of so many units, after several resizings by odd ratios."""
    return turn if turn <= LONG else min(turn, max(units, 1))


@dataclass(frozen=True, slots=True)
class Reach:
    """What units see in one direction: unit i sees `turn[i]`, and a turn later a unit sees the same, `advance` on."""

    turn: tuple[Pixels | None, ...]
    """None of a unit that sees nothing, as between those that a transposed convolution lays a stride apart. Most maps
    have a turn of one unit."""
    advance: int | None
    """In pixels; 0 where all units see the same. None of a map with its end, beyond which units see nothing: its turn
    is all of it. Without that, they see there what they would if the map went on, and fields have their full size."""
    units: int
    """How many the map has."""

    @property
    def size(self) -> int:
        """Of the most that a unit sees, in pixels, padding included."""
        return max(pixels.size if pixels else 0 for pixels in self.turn)

    @property
    def stride(self) -> Fraction:
        """From one unit to the next, in the mean of a turn."""
        return Fraction(self.advance, len(self.turn)) if self.advance else Fraction(0)

    @property
    def first(self) -> int:
        """The first pixel that the first unit sees, or if that sees nothing the next that sees any."""
        return next((pixels.first for pixels in self.turn if pixels), 0)

    @property
    def same(self) -> bool:
        """Whether all units see the same."""
        return not self.advance and len(set(self.turn)) == 1

    @property
    def centre(self) -> Fraction:
        """Of what the first unit sees, in the mean of a turn."""
        centres = [
            Fraction(pixels.first + pixels.last, 2) - i * self.stride for i, pixels in enumerate(self.turn) if pixels
        ]
        return sum(centres, Fraction(0)) / max(len(centres), 1)

    def of(self, unit: int) -> Pixels | None:
        """What a unit sees."""
        if self.advance is None:
            return self.turn[unit] if 0 <= unit < len(self.turn) else None
        turns, place = divmod(unit, len(self.turn))
        pixels = self.turn[place]
        return pixels and pixels.moved(turns * self.advance)

    def behind(self, units: int, ratio: Fraction, seen: Callable[[int], Iterable[int]]) -> "Reach":
        """Of `units` units, of which unit o sees the units `seen(o)` of these, and the next such, `ratio` further."""
        if self.advance is None:
            return Reach(tuple(hull(map(self.of, seen(o))) for o in range(units)), None, units)
        # A turn is as many units as come to whole turns before.
        turn = cut(ratio.denominator * (len(self.turn) // gcd(len(self.turn), ratio.numerator)), units)
        pixels = tuple(hull(map(self.of, seen(o))) for o in range(turn))
        return Reach(pixels, ceil(turn * ratio * self.stride), units).shortened()

    def shortened(self) -> "Reach":
        """The same with the shortest turn."""
        assert self.advance is not None
        for turn in range(1, len(self.turn)):
            count, rest = divmod(len(self.turn), turn)
            if not rest and not self.advance % count:
                short = Reach(self.turn[:turn], self.advance // count, self.units)
                if all(short.of(i) == pixels for i, pixels in enumerate(self.turn)):
                    return short
        return self

    def window(self, window: Window, units: int) -> "Reach":
        """Behind a layer whose unit o sees `kernel_size` units from o · stride − padding on, `dilation` apart."""
        kernel_size, stride, dilation, padding = window

        def seen(unit: int) -> range:
            start = unit * stride - padding
            return range(start, start + dilation * (kernel_size - 1) + 1, dilation)

        return self.behind(units, Fraction(stride), seen)

    def spread(self, window: Window, units: int) -> "Reach":
        """Behind a transposed layer: unit o sees the units i with o = i · stride − padding + k · dilation."""
        kernel_size, stride, dilation, padding = window

        def seen(unit: int) -> list[int]:
            places = (unit + padding - k * dilation for k in range(kernel_size))
            return [place // stride for place in places if place % stride == 0]

        return self.behind(units, Fraction(1, stride), seen)

    def divided(self, units: int) -> "Reach":
        """Behind an adaptive pooling: unit o sees units from ⌊o · n / m⌋ to before ⌈(o + 1) · n / m⌉."""
        n, m = self.units, units
        return self.behind(units, Fraction(n, m), lambda unit: range(unit * n // m, -(-(unit + 1) * n // m)))

    def resized(self, resizing: Resizing, units: int) -> "Reach":
        """Behind an upsampling: unit o sees the unit before its place, and if it lies between two the other too.

        Torch reckons the place in single precision; of ratios such as 22 of 26 it takes a unit too early now and then.
        """
        ratio, shift, between = resizing

        def seen(unit: int) -> set[int]:
            place = unit * ratio + shift
            return {floor(place), ceil(place)} if between else {floor(place)}

        return self.behind(units, ratio, seen)

    def moved(self, start: int, units: int, step: int = 1) -> "Reach":
        """Of every `step`-th unit from `start` on, which may be one of a frame of zeros."""
        return self.behind(units, Fraction(step), lambda unit: [start + unit * step])

    def framed(self, before: int, units: int, inner: Callable[[int, int], int]) -> "Reach":
        """Behind a frame of units that are not zeros, but those `inner(i, n)` of these n."""
        if self.advance is not None:
            return self.moved(-before, units)
        seen = [(i, self.of(inner(i, self.units))) for i in range(-before, units - before)]
        turn = (p and p._replace(whole=p.whole and 0 <= i < self.units) for i, p in seen)
        return Reach(tuple(turn), None, units)

    def over(self) -> "Reach":
        """Of one unit that sees what all of these see."""
        # What units see does not go back from turn to turn.
        ends = {*range(min(len(self.turn), self.units)), *range(max(self.units - len(self.turn), 0), self.units)}
        return Reach((hull(map(self.of, ends)),), None if self.advance is None else 0, 1)

    def laid(self, units: int) -> "Reach":
        """Of a single unit that is laid over so many, or as it is where there are as many already."""
        if self.units == units:
            return self
        single = self.over()
        return replace(single, units=units) if single.advance == 0 else Reach(single.turn * units, None, units)

    def join(self, other: "Reach") -> "Reach":
        """Of units that see what two units of one place see."""
        units = max(self.units, other.units)
        one, two = self.laid(units), other.laid(units)
        if one is two or one == two:
            return one
        stride, turn = max(one.stride, two.stride), cut(lcm(len(one.turn), len(two.turn)), units)
        if one.advance is None or one.stride != two.stride:
            turn = units  # no two of them see alike
        pixels = tuple(hull((one.of(i), two.of(i))) for i in range(turn))
        if one.advance is None:
            return Reach(pixels, None, units)
        if one.stride != two.stride and len(set(pixels)) == 1:
            return Reach(pixels[:1], 0, units)
        return Reach(pixels, ceil(turn * stride), units).shortened()

    def beside(self, other: "Reach") -> bool:
        """Whether units of one place look at one place, all the way; or the units of one alone all see the same."""
        if self.units != other.units:
            return True
        return self.centre == other.centre if self.stride == other.stride else not (self.stride and other.stride)


@dataclass(frozen=True, slots=True)
class Field:
    """What the units of a tensor see of the image."""

    axes: tuple[Axes, ...]
    """Of each dimension of the tensor."""
    reach: tuple[Reach, Reach]
    """Down and across."""
    known: bool = True
    """False behind an operation that could not be analysed; then it is all that any of its inputs' units see."""
    aligned: bool = True
    """False where paths were joined whose fields have other centres, or go on in other steps."""

    @property
    def units(self) -> tuple[int, int]:
        """How many units there are, down and across."""
        return self.reach[0].units, self.reach[1].units

    @property
    def by_turns(self) -> bool:
        """Whether the units of a map do not all see as much, a stride on."""
        return any(len(reach.turn) > 1 for reach in self.reach)

    @property
    def gaps(self) -> bool:
        """Whether some units see nothing, and others do."""
        return any(None in reach.turn and len(set(reach.turn)) > 1 for reach in self.reach)

    def collapsed(self, dims: Iterable[int], *, known: bool = True) -> "Field":
        """Each unit sees what all units along these dimensions see."""
        dims = {dim % len(self.axes) for dim in dims}
        gone = {axis for dim in dims for axis in self.axes[dim]}
        axes = tuple(() if dim in dims else of for dim, of in enumerate(self.axes))
        down, across = (reach.over() if axis in gone else reach for axis, reach in enumerate(self.reach))
        return replace(self, axes=axes, reach=(down, across), known=self.known and known)

    def whole(self, ndim: int, *, known: bool = True) -> "Field":
        """The same for all units of a tensor of `ndim` dimensions: all that there is to see."""
        return replace(self.collapsed(range(len(self.axes)), known=known), axes=((),) * ndim)

    def along(self, dim: int, change: Callable[[Reach], Reach]) -> "Field":
        """With another reach in the direction of `dim`, if that is of the image."""
        axes = self.axes[dim]
        if len(axes) > 1:
            return self.collapsed([dim], known=False)
        down, across = (change(reach) if axis in axes else reach for axis, reach in enumerate(self.reach))
        return replace(self, reach=(down, across))

    def join(self, other: "Field") -> "Field":
        """Of units that see what two of one place see: sums, products and concatenations."""
        ndim = max(len(self.axes), len(other.axes))
        both = [((),) * (ndim - len(each.axes)) + each.axes for each in (self, other)]
        pairs = list(zip(*both, strict=True))
        places = [[[dim for dim, of in enumerate(axes) if axis in of] for axes in both] for axis in (0, 1)]
        turned = any(one and two and one != two for one, two in (*pairs, *places))  # a map and itself transposed, say
        # A row of units that see nothing is no part of the box; and yet what they would see across would be in it.
        if turned or ((self.gaps or other.gaps) and self.reach != other.reach):
            return self.whole(ndim, known=False).join(other.whole(ndim, known=False))
        down, across = (one.join(two) for one, two in zip(self.reach, other.reach, strict=True))
        beside = all(one.beside(two) for one, two in zip(self.reach, other.reach, strict=True))
        return Field(
            axes=tuple(one or two for one, two in pairs),
            reach=(down, across),
            known=self.known and other.known,
            aligned=self.aligned and other.aligned and beside,
        )


def of_images(shape: tuple[int, ...], *, bounded: bool = False) -> Field:
    """Of the images themselves, `(…, H, W)`: each pixel sees itself.

    What units see goes on beyond the ends of their maps, so that the fields have their full size; or not, if they are
    `bounded`, as gradients show it.
    """
    down, across = (
        Reach(tuple(Pixels(i, i) for i in range(units)), None, units) if bounded else Reach((Pixels(0, 0),), 1, units)
        for units in shape[-2:]
    )
    return Field(axes=((),) * (len(shape) - 2) + ((0,), (1,)), reach=(down, across))
