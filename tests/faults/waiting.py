"""Waiting for states."""

import time

from confluent_kafka import KafkaException

# The machine may be shared: what takes a second on a quiet one may take many.
PATIENCE = 120
POLL_SECONDS = 0.2


def wait_until(what, condition, timeout=PATIENCE, run=None):
    """Until `condition` holds. With a `run`, that it ended by itself is a failure at once."""
    deadline = time.monotonic() + timeout
    trouble = None
    while True:
        try:
            found = condition()
        except (KafkaException, OSError, LookupError) as error:
            # The server asked is the one that is out of order.
            found, trouble = None, error
        if found:
            return found
        if run and run.process.poll() is not None:
            raise AssertionError(f"{what}: the run ended with {run.process.returncode}:\n{run.output()[-6000:]}")
        if time.monotonic() > deadline:
            log = f"\n{run.output()[-6000:]}" if run else ""
            raise AssertionError(f"{what}: not within {timeout} s ({trouble}){log}")
        time.sleep(POLL_SECONDS)
