"""Requests for the objects of a bucket, without most of what a call of boto3 costs.

boto3 takes about 2.4 ms of processor time for a request, most of it for models, events and endpoint rules; for
thousands of small files that is what a transfer waits for. So boto3 resolves credentials, endpoint and region once, and
botocore only signs what http.client sends, which takes 0.6 ms.
"""

from __future__ import annotations

import base64
import hashlib
import os
import random
import time
from collections.abc import Iterator, Mapping
from email.message import Message
from http.client import HTTPResponse
from typing import Any
from urllib.parse import quote, urlsplit

from botocore import exceptions as boto
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.httpsession import get_cert_path
from botocore.parsers import create_parser
from botocore.session import Session
from botocore.utils import get_environ_proxies

from nofrost.store.base import PIECE
from nofrost.store.s3_connections import Connections

NETWORK_ERRORS = (boto.ConnectionError, boto.HTTPClientError)
_TRANSIENT = frozenset((429, 500, 502, 503, 504))
_TRANSIENT_CODES = frozenset(("RequestTimeout", "SlowDown"))
_LONGEST_PAUSE_S = 20.0


class Requests:
    """Signed requests to one bucket, each repeated after a pause when the server or the network fails.

    Args:
        session: of botocore: where credentials come from.
        client: made by `session`: whose configuration is used.
        url: of the bucket, as the client resolved it.
        region: to sign for.

    Every method raises botocore's ClientError or one of NETWORK_ERRORS when it failed for good.
    """

    def __init__(self, session: Session, client: Any, url: str, region: str) -> None:
        self._session, self._config, self._url, self._region = session, client.meta.config, url, region
        self._attempts: int = self._config.retries["total_max_attempts"]
        self._host = urlsplit(url).netloc.rpartition("@")[2]
        self._parser = create_parser("rest-xml")
        trusted = session.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE", True)
        self._connections = Connections(
            url,
            proxy=get_environ_proxies(url).get(url.partition(":")[0]),
            certificates=get_cert_path(trusted),
            connect_timeout=self._config.connect_timeout,
            read_timeout=self._config.read_timeout,
        )

    def size(self, key: str) -> int | None:
        """Return the size of an object in bytes, None if it is not there."""
        try:
            return int(self._send("HEAD", key)["Content-Length"])
        except boto.ClientError as error:
            if _status(error) == 404:
                return None
            raise

    def put(self, key: str, content: bytes, digest: bytes | None = None) -> str:
        """Store an object or, with a query in `key`, a part of one, and return its entity tag.

        Args:
            key: name of the object.
            content: the object.
            digest: the MD5 that the server has to find; None for that of `content`.
        """
        digest = digest or hashlib.md5(content, usedforsecurity=False).digest()
        headers = {"Content-MD5": base64.b64encode(digest).decode()}
        return self._send("PUT", key, content, headers)["ETag"]

    def get(self, key: str) -> Iterator[bytes]:
        """Yield an object in pieces; when the connection is cut, go on from there."""
        received, failures = 0, 0
        while True:
            span = {"Range": f"bytes={received}-"} if received else {}
            try:
                with self._connections.exchange(*self._signed("GET", key, b"", span)) as answer:
                    self._demand_success(answer)
                    if received and answer.status != 206:
                        raise ConnectionResetError  # it sends what we have
                    length = received + int(answer.headers["Content-Length"])
                    while piece := answer.read(PIECE):
                        received, failures = received + len(piece), 0
                        yield piece
                    if received == length:
                        return
                    raise ConnectionResetError  # before the end
            except (boto.ClientError, *NETWORK_ERRORS) as error:
                failures += 1
                self._pause_or_raise(error, failures)

    def _send(self, method: str, key: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Message:
        """Send a request until it is answered; return the headers of the answer."""
        failures = 0
        while True:
            try:
                with self._connections.exchange(*self._signed(method, key, body, headers or {})) as answer:
                    self._demand_success(answer)
                    answer.read()
                    return answer.headers
            except (boto.ClientError, *NETWORK_ERRORS) as error:
                failures += 1
                self._pause_or_raise(error, failures)

    def _signed(
        self, method: str, key: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[str, str, Mapping[str, str], bytes]:
        path, mark, query = key.partition("?")
        url = f"{self._url}/{quote(path, safe='/~')}{mark}{query}"
        request = AWSRequest(method, url, {"Host": self._host, **headers}, body)
        request.context = {"client_config": self._config, "has_streaming_input": bool(body)}
        credentials = self._session.get_credentials()
        if credentials is None:
            raise boto.NoCredentialsError
        S3SigV4Auth(credentials.get_frozen_credentials(), "s3", self._region).add_auth(request)
        return method, url, dict(request.headers.items()), body

    def _demand_success(self, answer: HTTPResponse) -> None:
        """Raise what the server says if it refuses."""
        if answer.status >= 300:
            told = {"headers": answer.headers, "status_code": answer.status, "body": answer.read()}
            raise boto.ClientError(self._parser.parse(told, None), "request")

    def _pause_or_raise(self, error: Exception, failures: int) -> None:
        transient = not isinstance(error, boto.SSLError)
        if isinstance(error, boto.ClientError):
            transient = _status(error) in _TRANSIENT or error.response["Error"]["Code"] in _TRANSIENT_CODES
        if not transient or failures >= self._attempts:
            raise error
        time.sleep(min(_LONGEST_PAUSE_S, random.random() * 2**failures))


def _status(error: boto.ClientError) -> int:
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])
