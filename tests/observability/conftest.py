"""The helpers are those of the demo's suite."""

import sys
from pathlib import Path

for suite in ("real", "demo"):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / suite))
