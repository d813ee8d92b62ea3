"""`convatlas doctor`."""

from dataclasses import dataclass

from convatlas.cli.words import parse, print_json


@dataclass(frozen=True, kw_only=True)
class DoctorOptions:
    """Say what this machine has that networks run on, what is chosen for it, and what would be faster."""

    json: bool = False
    """Print JSON."""


def doctor(words: list[str]) -> int:
    """Say what this machine has that networks run on, and what is chosen for it."""
    options = parse(DoctorOptions, "doctor", words)

    from convatlas.deploy.doctor import examine

    findings = examine()
    if options.json:
        print_json([finding._asdict() for finding in findings])
        return 0
    wide = max(len(finding.what) for finding in findings)
    for what, found, advice in findings:
        print(f"{what:{wide}}  {found}{f': {advice}' if advice else ''}")
    return 0
