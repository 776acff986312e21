"""Processes that outlive their starter, and the ports they listen on.

An id is believed only together with the process's start time, so that a reused id is never
signalled.
"""

import json
import os
import random
import socket
from pathlib import Path

from .cache import ServicesError

HOST = "127.0.0.1"
# Below the ephemeral range of Linux, also after SeaweedFS adds 10000 for its gRPC ports.
PORT_RANGE = (12000, 22000)
GRPC_OFFSET = 10000


def start_time(pid):
    """The process's start time in clock ticks since boot, or None when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


class Record:
    """What `start` wrote down about one server: its process and its ports."""

    def __init__(self, path):
        self.path = path

    def read(self):
        try:
            return json.loads(self.path.read_text())
        except (OSError, ValueError):
            return None

    def write(self, pid, ports):
        self.path.write_text(json.dumps({"pid": pid, "start_time": start_time(pid), "ports": ports}) + "\n")

    def alive(self):
        """The record, if its very process still runs."""
        record = self.read()
        if record and record["start_time"] and start_time(record["pid"]) == record["start_time"]:
            return record
        return None


def port_is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port(taken, with_grpc=False):
    for _ in range(1000):
        port = random.randrange(*PORT_RANGE)
        wanted = {port, port + GRPC_OFFSET} if with_grpc else {port}
        if not wanted & taken and all(port_is_free(p) for p in wanted):
            taken |= wanted
            return port
    raise ServicesError(f"no free port found in {PORT_RANGE[0]}..{PORT_RANGE[1]}")


def choose_ports(variable, first, others=(), with_grpc=False):
    """Ports by name: `first` from the environment variable if set, the rest free ones."""
    ports, taken = {}, set()
    given = os.environ.get(variable)
    if given:
        if not given.isdigit() or not port_is_free(int(given)):
            raise ServicesError(f"{variable}={given}: not a free port on {HOST}. Choose another or unset it.")
        ports[first] = int(given)
        taken.add(int(given))
    for name in (first, *others):
        if name not in ports:
            ports[name] = free_port(taken, with_grpc)
    return ports
