"""``python -m epochcost``."""

import sys

from epochcost.cli import main

sys.exit(main())
