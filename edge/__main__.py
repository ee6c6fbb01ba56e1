"""`python -m edge`, and the target of the `edge` command."""

import sys

from edge.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
