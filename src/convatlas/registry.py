"""The registry: from a name to its network, its spec, its paper and what the paper prints about it."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, get_type_hints

from convatlas.errors import InputError
from convatlas.fields import conform
from convatlas.network import Network
from convatlas.papers import PAPERS, Paper
from convatlas.wording import nearest


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What is known of a network before it is built."""

    name: str
    family: str
    paper: Paper
    table: str
    """The table or section of the paper."""
    input_size: tuple[int, int, int]
    """C, H, W."""
    num_classes: int
    least_size: int
    """The least height and width, in pixels."""
    fixed_size: bool
    """Whether images of another size than `input_size` are refused."""
    spec: Any
    published: Mapping[str, str | float] = field(default_factory=dict)
    """What the paper prints: `params`, `top1_error` in per cent, and what these were measured on."""
    deviations: tuple[str, ...] = ()
    """Where the network differs from its paper, in words."""

    @property
    def year(self) -> int:
        """The year of the paper."""
        return self.paper.year


@dataclass(frozen=True, slots=True)
class Entry:
    """A card, and the class that builds its network from `(spec, num_classes=…, in_channels=…)`."""

    card: Card
    network: Callable[..., Network]


ENTRIES: dict[str, Entry] = {}


def register(
    network: type[Network],
    variants: Mapping[str, Any],
    *,
    family: str,
    paper: str,
    table: str,
    input_size: tuple[int, int, int],
    num_classes: int,
    least_size: int | None = None,
    published: Mapping[str, Mapping[str, str | float]] | None = None,
    deviations: tuple[str, ...] | Mapping[str, tuple[str, ...]] = (),
) -> None:
    """Enter a paper's table: a name and a spec for each of its rows. Deviations are of all rows, or by name.

    `least_size` is the network's, or where that depends on the spec these rows'; a fixed size is that of the input.
    """
    least_size = input_size[1] if network.fixed_size else least_size or network.least_size
    for name, spec in variants.items():
        assert name not in ENTRIES, f"{name} is registered twice"
        card = Card(
            name=name,
            family=family,
            paper=PAPERS[paper],
            table=table,
            input_size=input_size,
            num_classes=num_classes,
            least_size=least_size,
            fixed_size=network.fixed_size,
            spec=spec,
            published=(published or {}).get(name, {}),
            deviations=deviations.get(name, ()) if isinstance(deviations, Mapping) else deviations,
        )
        ENTRIES[name] = Entry(card, network)


def derive(
    variants: Mapping[str, tuple[str, Mapping[str, Any]]],
    *,
    family: str,
    paper: str,
    table: str,
    published: Mapping[str, Mapping[str, str | float]] | None = None,
    deviations: tuple[str, ...] | Mapping[str, tuple[str, ...]] = (),
) -> None:
    """Enter networks that a paper makes of another's: a name, the base, and the changes of the base's spec.

    So a paper that adds to an older network has a table of its own and no copy of that network. The base's
    deviations stay with it.
    """
    for name, (base, changes) in variants.items():
        assert name not in ENTRIES, f"{name} is registered twice"
        entry = find(base)
        card = dataclasses.replace(
            entry.card,
            name=name,
            family=family,
            paper=PAPERS[paper],
            table=table,
            spec=change(entry.card, changes),
            published=(published or {}).get(name, {}),
            deviations=entry.card.deviations
            + (deviations.get(name, ()) if isinstance(deviations, Mapping) else deviations),
        )
        ENTRIES[name] = Entry(card, entry.network)


def list_models(pattern: str = "*") -> list[str]:
    """The names that match a shell pattern such as `"resnet*"`, in the order of history."""
    return [name for name in ENTRIES if fnmatchcase(name, pattern)]


def find(name: str) -> Entry:
    """The entry of `name`; InputError with the nearest names where there is none."""
    if not isinstance(name, str) or name not in ENTRIES:
        raise InputError(f"no model is called {name!r}; the nearest: {nearest(str(name).lower(), tuple(ENTRIES))}")
    return ENTRIES[name]


def model_card(name: str) -> Card:
    """What is known of a network: paper, year, input size, published figures, deviations.

    Raises InputError for an unknown name.
    """
    return find(name).card


def build(name: str, *, num_classes: int | None = None, in_channels: int | None = None, **changes: Any) -> Network:
    """The network of that name with weights drawn as its paper says; `changes` are fields of its spec.

    Raises InputError for an unknown name or field, and for values of which no network can be made.
    """
    entry = find(name)
    spec = change(entry.card, changes)
    try:
        network = entry.network(
            spec,
            num_classes=entry.card.num_classes if num_classes is None else num_classes,
            in_channels=entry.card.input_size[0] if in_channels is None else in_channels,
        )
    except ValueError as error:
        raise InputError(f"{name} cannot be built so: {error}") from error
    network.name = name
    return network


def change(card: Card, changes: Mapping[str, Any]) -> Any:
    """The card's spec with some fields changed; InputError names an unknown field or a value of a wrong type."""
    known = [f.name for f in dataclasses.fields(card.spec)]
    for name in changes:
        if name not in known:
            raise InputError(f"{card.name} has no {name!r} to change; its spec has {', '.join(known)}")
    types = get_type_hints(type(card.spec))
    try:
        return dataclasses.replace(card.spec, **{k: conform(k, v, types[k]) for k, v in changes.items()})
    except ValueError as error:
        raise InputError(f"{card.name} cannot be changed so: {error}") from None
