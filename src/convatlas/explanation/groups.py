"""Which operations are a layer together, and what it is called."""

from collections.abc import Container, Sequence
from dataclasses import dataclass, field

from convatlas.explanation.costs import Cost
from convatlas.explanation.trace import Operation


@dataclass
class Group:
    """The operations of one layer."""

    name: str
    path: str
    operations: list[int] = field(default_factory=list)
    call: int | None = None
    """The module's, where the group is one."""


def grouped(operations: Sequence[Operation], costs: Sequence[Cost], leaves: Container[str]) -> list[Group]:
    """A group for each call of a module without parts, `leaves`, and for each computation outside of such."""
    taken: dict[str, int] = {}
    found: list[Group] = []
    called: dict[int, Group] = {}

    def unique(name: str) -> str:
        taken[name] = taken.get(name, 0) + 1
        return name if taken[name] == 1 else f"{name} ({taken[name]})"

    for index, (operation, cost) in enumerate(zip(operations, costs, strict=True)):
        if operation.path in leaves and operation.path:
            if operation.call not in called:
                called[operation.call] = Group(unique(operation.path), operation.path, call=operation.call)
                found.append(called[operation.call])
            called[operation.call].operations.append(index)
        elif cost.kind:
            kind = cost.kind.replace(" ", "_")
            found.append(Group(unique(f"{operation.path}.{kind}".removeprefix(".")), operation.path, [index]))
    return found
