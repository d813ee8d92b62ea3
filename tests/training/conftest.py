"""A run that many tests look at."""

import pytest
from trained import QUICK, go

from convatlas.training.run import Run


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return go(QUICK, tmp_path_factory.mktemp("runs") / "first")
