"""``python -m longctx_edu`` is the command ``longctx``."""

import sys

from longctx_edu.cli import main

if __name__ == "__main__":
    sys.exit(main())
