"""What a unit sees of the image: exact intervals, carried through every operation.

Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning"; Araujo, Norris and Sim 2019, "Computing
receptive fields of convolutional neural networks". Along one direction, unit i of a map sees the pixels from
`first + i · stride` to `last + i · stride`, both included; pixels outside of the image are padding.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from math import lcm

Axes = tuple[int, ...]
"""Which directions of the image a dimension of a tensor runs along: (), (0,) down, (1,) across, (0, 1) both, as
tokens do."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What units see in one direction."""

    first: Fraction
    last: Fraction
    stride: Fraction
    """0 where all units see the same."""

    @property
    def size(self) -> int:
        """In pixels, padding included."""
        return int(self.last - self.first) + 1

    def window(self, kernel_size: int, *, stride: int, padding: int, dilation: int = 1) -> "Reach":
        """Behind a layer whose unit i sees units from i · stride − padding, `kernel_size` of them, `dilation` apart."""
        first = self.first - padding * self.stride
        last = self.last + (dilation * (kernel_size - 1) - padding) * self.stride
        return Reach(first, last, stride * self.stride)

    def spread(self, kernel_size: int, *, stride: int, padding: int, dilation: int = 1) -> "Reach":
        """Behind a transposed layer: unit o sees the units i with o = i · stride − padding + k · dilation."""
        step = self.stride / stride
        first = self.first + (padding - dilation * (kernel_size - 1)) * step
        return Reach(first, self.last + padding * step, step)

    def resized(self, ratio: Fraction, shift: Fraction, *, between: bool) -> "Reach":
        """Where unit o stands at o · ratio + shift and sees the unit before that, and if `between` the one behind."""
        part = 1 - Fraction(1, lcm(ratio.denominator, shift.denominator))  # as far as the next unit can be, at most
        first, last = shift - part, shift + (part if between else 0)
        return Reach(self.first + first * self.stride, self.last + last * self.stride, ratio * self.stride)

    def over(self, units: int) -> "Reach":
        """Of one unit that sees what all `units` of these see."""
        return Reach(self.first, self.last + (units - 1) * self.stride, Fraction(0))

    def moved(self, start: int, step: int = 1) -> "Reach":
        """Of every `step`-th unit from `start` on."""
        shift = start * self.stride
        return Reach(self.first + shift, self.last + shift, step * self.stride)

    def join(self, other: "Reach", units: int) -> "Reach":
        """Of units that see what two units of one place see; of different strides, the whole of both."""
        if self.stride != other.stride:
            self, other = self.over(units), other.over(units)
        return Reach(min(self.first, other.first), max(self.last, other.last), self.stride)

    def beside(self, other: "Reach") -> bool:
        """Whether units of one place look at one place, all the way; or the units of one alone all see the same."""
        return self.centre == other.centre if self.stride == other.stride else not (self.stride and other.stride)

    @property
    def centre(self) -> Fraction:
        """Of what unit 0 sees."""
        return (self.first + self.last) / 2


@dataclass(frozen=True, slots=True)
class Field:
    """What the units of a tensor see of the image."""

    axes: tuple[Axes, ...]
    """Of each dimension of the tensor."""
    reach: tuple[Reach, Reach]
    """Down and across."""
    units: tuple[int, int]
    """How many units there are, down and across."""
    known: bool = True
    """False behind an operation that could not be analysed; then it is all that any of its inputs' units see."""
    aligned: bool = True
    """False where paths were joined whose fields have other centres, or go on in other steps."""
    exact: bool = True
    """False behind a transposed layer with a stride, and what resizes maps: units see by turns a unit more or less, and
    this is the most."""

    def collapsed(self, dims: Iterable[int], *, known: bool = True) -> "Field":
        """Each unit sees what all units along these dimensions see."""
        dims = {dim % len(self.axes) for dim in dims}
        gone = {axis for dim in dims for axis in self.axes[dim]}
        axes = tuple(() if dim in dims else of for dim, of in enumerate(self.axes))
        reach = [reach.over(self.units[axis]) if axis in gone else reach for axis, reach in enumerate(self.reach)]
        units = [1 if axis in gone else units for axis, units in enumerate(self.units)]
        return replace(
            self, axes=axes, reach=(reach[0], reach[1]), units=(units[0], units[1]), known=self.known and known
        )

    def whole(self, ndim: int, *, known: bool = True) -> "Field":
        """The same for all units of a tensor of `ndim` dimensions: all that there is to see."""
        return replace(self.collapsed(range(len(self.axes)), known=known), axes=((),) * ndim)

    def along(self, dim: int, change: Callable[[Reach], Reach], units: int) -> "Field":
        """With another reach in the direction of `dim`, if that is of the image."""
        axes = self.axes[dim]
        if not axes:
            return self
        if len(axes) > 1:
            return self.collapsed([dim], known=False)
        (axis,) = axes
        reach = tuple(change(of) if at == axis else of for at, of in enumerate(self.reach))
        counts = tuple(units if at == axis else count for at, count in enumerate(self.units))
        return replace(self, reach=(reach[0], reach[1]), units=(counts[0], counts[1]))

    def join(self, other: "Field") -> "Field":
        """Of units that see what two of one place see: sums, products and concatenations."""
        ndim = max(len(self.axes), len(other.axes))
        both = [((),) * (ndim - len(each.axes)) + each.axes for each in (self, other)]
        pairs = list(zip(*both, strict=True))
        places = [[[dim for dim, of in enumerate(axes) if axis in of] for axes in both] for axis in (0, 1)]
        if any(one and two and one != two for one, two in (*pairs, *places)):  # a map and itself turned, say
            return self.whole(ndim, known=False).join(other.whole(ndim, known=False))
        down, across = (
            one.join(two, n) if n == m else one.over(n).join(two.over(m), 1)  # a single unit is laid over all
            for one, two, n, m in zip(self.reach, other.reach, self.units, other.units, strict=True)
        )
        aligned = all(
            one.beside(two) or n != m
            for one, two, n, m in zip(self.reach, other.reach, self.units, other.units, strict=True)
        )
        return Field(
            axes=tuple(one or two for one, two in pairs),
            reach=(down, across),
            units=(max(self.units[0], other.units[0]), max(self.units[1], other.units[1])),
            known=self.known and other.known,
            aligned=self.aligned and other.aligned and aligned,
            exact=self.exact and other.exact,
        )


def of_images(ndim: int, size: tuple[int, int]) -> Field:
    """Of the images themselves, `(…, H, W)`: each pixel sees itself."""
    pixel = Reach(Fraction(0), Fraction(0), Fraction(1))
    return Field(axes=((),) * (ndim - 2) + ((0,), (1,)), reach=(pixel, pixel), units=size)
