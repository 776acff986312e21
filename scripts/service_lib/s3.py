"""Requests to an S3 server with nothing but the standard library: enough to list and make buckets."""

import datetime
import hashlib
import hmac
import json
import urllib.error
import urllib.request

REGION = "us-east-1"
# For servers on this machine's loopback that hold test data.
ACCESS_KEY = "minioadmin"
SECRET_KEY = "minioadmin"
OWNER_KEYS = ("bucketowner", "bucketowner")


def s3_request(endpoint, method, path, keys):
    """One request without a body; returns the status."""
    return s3_answer(endpoint, method, path, keys)[0]


def s3_answer(endpoint, method, path, keys, query=""):
    """One request without a body, signed by AWS Signature Version 4; returns status and body. The
    query's parameters must be in order and encoded."""
    host = endpoint.partition("://")[2]
    now = datetime.datetime.now(datetime.timezone.utc)
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    empty = hashlib.sha256(b"").hexdigest()
    headers = {"host": host, "x-amz-content-sha256": empty, "x-amz-date": stamp}
    names = ";".join(headers)
    canonical = "\n".join([method, path, query, *(f"{k}:{v}" for k, v in headers.items()), "", names, empty])
    scope = f"{day}/{REGION}/s3/aws4_request"
    to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    access, secret = keys
    key = f"AWS4{secret}".encode()
    for part in (day, REGION, "s3", "aws4_request", to_sign):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={access}/{scope}, SignedHeaders={names}, Signature={key.hex()}"
    )
    url = endpoint + path + (f"?{query}" if query else "")
    request = urllib.request.Request(url, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def http_json(url):
    with urllib.request.urlopen(url, timeout=5) as response:
        return json.load(response)
