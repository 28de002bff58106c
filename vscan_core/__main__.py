"""`python -m vscan_core`."""

import sys

from vscan_core.cli.main import main

sys.exit(main())
