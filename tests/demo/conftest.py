"""The model, the checks and the readers are those of the suite on real servers."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "real"))
