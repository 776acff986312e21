"""Runs a script under the interpreter that has the real-server suite's packages and modules."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def use_suite_python():
    """Starts the script again under the suite's interpreter, installing it first if need be, and makes the
    suite's modules importable."""
    try:
        import confluent_kafka  # noqa: F401
        import duckdb  # noqa: F401
        import nbclient  # noqa: F401
        import polars  # noqa: F401
        import yaml  # noqa: F401
    except ImportError:
        command = [sys.executable, str(ROOT / "scripts/services"), "python"]
        python = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
        os.execv(python, [python, *sys.argv])
    sys.path.insert(0, str(ROOT / "tests/real"))


def store_of_environment(folder):
    """The S3 server that the environment names, else a directory."""
    from readers import Store

    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    if not endpoint:
        return Store("local files", f"file://{folder}")
    keys = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"], os.environ["AWS_REGION"]
    store = Store(endpoint, "s3://rt-stream", endpoint, *keys)
    for name, variable in (("seaweedfs", "SEAWEEDFS_ENDPOINT"), ("minio", "MINIO_ENDPOINT")):
        if os.environ.get(variable) == endpoint and "FLOODMARK_SERVICES_DIR" in os.environ:
            subprocess.run([sys.executable, str(ROOT / "scripts/services"), "bucket", name, "rt-stream"], check=True)
    return store
