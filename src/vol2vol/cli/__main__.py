"""`python -m vol2vol.cli` runs the command line if the `vol2vol` command is not on the path."""

import sys

from vol2vol.cli import main

sys.exit(main())
