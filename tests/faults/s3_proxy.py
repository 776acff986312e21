"""An S3 server's bad days: a proxy that passes requests on and, where a plan says so, does something else.

A signature covers the method, the path, the `Host` header and what else the client names, and not the
connection. So requests pass with their headers unchanged, and the server behind sees a valid signature
over the proxy's address.
"""

import contextlib
import http.client
import http.server
import random
import socket
import threading
import time
import urllib.parse

CHUNK = 16 * 1024
# Seconds within which a server does what it is asked, and its client can be gone meanwhile.
ABANDONED_WITHIN = 0.004
# Headers about one connection, which has two ends here.
HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


def kind_of(method, path, headers):
    """What a request asks for, in S3's words."""
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(path).query, keep_blank_values=True)
    if method == "PUT":
        if "partNumber" in query:
            return "part"
        if "x-amz-copy-source" in headers:
            return "copy"
        return "put_new" if headers.get("If-None-Match") == "*" else "put"
    if method == "POST":
        return "create" if "uploads" in query else "complete" if "uploadId" in query else "delete"
    if method == "DELETE":
        return "abort" if "uploadId" in query else "delete"
    if method == "GET":
        return "list" if "list-type" in query else "get"
    return method.lower()


class Fault:
    """Something to do to requests of `kinds` (all if none is named) whose path holds `path`: to every
    `every`-th, at most `times` times."""

    def __init__(self, action, *kinds, path="", every=1, times=None):
        self.action, self.kinds, self.path, self.every, self.left = action, kinds, path, every, times
        self.seen = self.hits = 0

    def takes(self, kind, path):
        if (self.kinds and kind not in self.kinds) or self.path not in urllib.parse.unquote(path):
            return False
        self.seen += 1
        if self.seen % self.every or self.left == 0:
            return False
        self.left = self.left and self.left - 1
        self.hits += 1
        return True


def refuse(status, code, message="as planned"):
    """Answers instead of the server, which does not hear of the request."""

    def action(exchange):
        exchange.read_body()
        exchange.answer_error(status, code, message)

    return action


def fail_afterwards(status, code):
    """The server does the work; its answer is lost on the way and an error stands in its place."""

    def action(exchange):
        exchange.forward(exchange.read_body())
        exchange.answer_error(status, code, "the work was done")

    return action


def cut_request(exchange):
    """The connection breaks when half of the body has arrived; nothing reaches the server."""
    exchange.read_body(half=True)
    exchange.hang_up()


def cut_answer(exchange):
    """The server does the work; the connection breaks before it can say so."""
    exchange.forward(exchange.read_body())
    exchange.hang_up()


def abandon(exchange):
    """The request reaches the server whole; its sender is gone while the server works on it, or before."""
    exchange.forward_and_leave(exchange.read_body(), random.random() * ABANDONED_WITHIN)
    exchange.hang_up()


def slow(bytes_per_second):
    """A thin line: bodies take their time in both directions."""

    def action(exchange):
        body = exchange.read_body(bytes_per_second=bytes_per_second)
        exchange.answer(exchange.forward(body), bytes_per_second=bytes_per_second)

    return action


def repeat(exchange):
    """The request arrives twice, as when a device in between sends it again; the client gets the
    second answer."""
    body = exchange.read_body()
    exchange.forward(body)
    exchange.answer(exchange.forward(body))


class Exchange:
    """A request and what becomes of it."""

    def __init__(self, handler, upstream):
        self.handler, self.upstream = handler, upstream

    def read_body(self, half=False, bytes_per_second=None):
        left = int(self.handler.headers.get("Content-Length") or 0)
        if half:
            left //= 2
        parts = []
        chunk = min(CHUNK, bytes_per_second or CHUNK)
        while left:
            part = self.handler.rfile.read(min(chunk, left))
            if not part:
                raise ConnectionError("the client hung up")
            left -= len(part)
            parts.append(part)
            if bytes_per_second:
                time.sleep(len(part) / bytes_per_second)
        return b"".join(parts)

    def forward(self, body):
        with self.forwarded(body) as connection:
            response = connection.getresponse()
            return response.status, response.getheaders(), response.read()

    def forward_and_leave(self, body, seconds):
        """Sends the request and hangs up after so long, without an answer."""
        with self.forwarded(body):
            time.sleep(seconds)

    @contextlib.contextmanager
    def forwarded(self, body):
        connection = http.client.HTTPConnection(self.upstream, timeout=60)
        try:
            connection.putrequest(self.handler.command, self.handler.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.handler.headers.items():
                if name.lower() not in HOP:
                    connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            yield connection
        finally:
            connection.close()

    def answer(self, answer, bytes_per_second=None):
        status, headers, body = answer
        self.handler.send_response_only(status)
        length = str(len(body))
        for name, value in headers:
            if name.lower() == "content-length" and self.handler.command == "HEAD":
                length = value
            elif name.lower() not in HOP:
                self.handler.send_header(name, value)
        self.handler.send_header("Content-Length", length)
        self.handler.end_headers()
        if self.handler.command == "HEAD":
            return
        chunk = min(CHUNK, bytes_per_second or CHUNK)
        for at in range(0, len(body), chunk):
            self.handler.wfile.write(body[at : at + chunk])
            if bytes_per_second:
                time.sleep(chunk / bytes_per_second)

    def answer_error(self, status, code, message):
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
        self.answer((status, [("Content-Type", "application/xml")], body))

    def hang_up(self):
        with contextlib.suppress(OSError):
            self.handler.connection.shutdown(socket.SHUT_RDWR)
        self.handler.close_connection = True


class S3Proxy:
    """Listens on an address of its own, in front of one server."""

    def __init__(self, upstream):
        self.upstream = upstream.partition("://")[2]
        self.faults = []
        self.lock = threading.Lock()
        # (kind, path) of every request, for assertions about what happened.
        self.requests = []
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # A client that keeps its connections, as S3 clients do.
            timeout = 120

            def handle_any(self):
                with contextlib.suppress(ConnectionError, TimeoutError):
                    proxy.handle(Exchange(self, proxy.upstream), self)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def handle(self, exchange, handler):
        kind = kind_of(handler.command, handler.path, handler.headers)
        with self.lock:
            self.requests.append((kind, handler.path))
            fault = next((fault for fault in self.faults if fault.takes(kind, handler.path)), None)
        if fault:
            fault.action(exchange)
        else:
            exchange.answer(exchange.forward(exchange.read_body()))

    @contextlib.contextmanager
    def doing(self, action, *kinds, **how):
        """While the block runs. What it was about must have happened."""
        fault = self.add(action, *kinds, **how)
        try:
            yield fault
        finally:
            self.remove(fault)
        assert fault.hits, f"no request of {kinds or 'any kind'} came by in {fault.seen} seen"

    def add(self, action, *kinds, **how):
        fault = Fault(action, *kinds, **how)
        with self.lock:
            self.faults.append(fault)
        return fault

    def remove(self, fault):
        with self.lock:
            self.faults.remove(fault)

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
