"""The checks of a spec's numbers: each raises ValueError with the name of the field and what it has to be."""


def check_share(field: str, value: float) -> None:
    """Raise ValueError unless `value` is at least 0 and below 1: the share of the units that dropout takes away."""
    if not 0 <= value < 1:
        raise ValueError(f"{field} is a share of at least 0 and below 1, and not {value!r}")


def check_whole(field: str, value: int, *, least: int = 1) -> None:
    """Raise ValueError where `value` is below `least`."""
    if value < least:
        raise ValueError(f"{field} is a whole number of at least {least}, and not {value!r}")


def check_choice(field: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise ValueError unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{field} is one of {', '.join(choices)}, and not {value!r}")
