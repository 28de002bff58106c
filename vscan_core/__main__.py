"""`python -m vscan_core`."""

import sys

from vscan_core.cli import main

sys.exit(main())
