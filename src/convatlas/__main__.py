"""`python -m convatlas`."""

import sys

from convatlas.cli import main

sys.exit(main())
