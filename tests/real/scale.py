"""How large the suite's inputs are."""

import os

# The large tests' events: enough that files roll, windows overlap checkpoints and every kind of
# record appears by the hundred.
EVENTS = int(os.environ.get("FLOODMARK_REAL_EVENTS", "1000000"))
SEED = int(os.environ.get("FLOODMARK_REAL_SEED", "42"))
# In the past: a maximum event time ahead of the clock would not move the watermark.
START = "2025-08-17T12:00:00Z"
MIX = ["--late", "0.01", "--bad", "0.001", "--anomalies", "0.01", "--disorder", "5s", "--seed", SEED, "--start", START]
