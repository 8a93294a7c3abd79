"""``python -m gpufleet.cli`` is ``gpufleet``."""

from __future__ import annotations

import sys

from gpufleet.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
