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


def s3_request(endpoint, method, path):
    """One request without a body, signed by AWS Signature Version 4; returns the status."""
    host = endpoint.partition("://")[2]
    now = datetime.datetime.now(datetime.timezone.utc)
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    empty = hashlib.sha256(b"").hexdigest()
    headers = {"host": host, "x-amz-content-sha256": empty, "x-amz-date": stamp}
    names = ";".join(headers)
    canonical = "\n".join([method, path, "", *(f"{k}:{v}" for k, v in headers.items()), "", names, empty])
    scope = f"{day}/{REGION}/s3/aws4_request"
    to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{SECRET_KEY}".encode()
    for part in (day, REGION, "s3", "aws4_request", to_sign):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{scope}, SignedHeaders={names}, Signature={key.hex()}"
    )
    request = urllib.request.Request(endpoint + path, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def http_json(url):
    with urllib.request.urlopen(url, timeout=5) as response:
        return json.load(response)
