"""Run the command line: ``python -m include.respaldo``."""

import sys

from include.respaldo.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
