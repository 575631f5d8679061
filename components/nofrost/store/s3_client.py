"""A client of one bucket: boto3 finds credentials, endpoint and region, obstore moves the bytes.

boto3 knows every way in which AWS can be configured, but takes about 2.5 ms of processor time for a small request;
obstore takes a fraction of that, and resumes a download that is cut.
"""

from __future__ import annotations

import os
import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from botocore.awsrequest import AWSPreparedRequest
from botocore.config import Config
from botocore.session import Session
from obstore.auth.boto3 import Boto3CredentialProvider
from obstore.store import S3Store

if TYPE_CHECKING:
    from obstore.store import ClientConfig

# Default for AWS_MAX_ATTEMPTS and the profile's setting.
_ATTEMPTS = 5
_CONNECT_TIMEOUT_S = 10
# Without any data. obstore also counts the time in which it sends a body, so a part of 8 MiB needs 70 KB/s.
_READ_TIMEOUT_S = 120
_MAX_BACKOFF_S = 20.0
# A request is signed once for all its attempts, and S3 accepts a signature for 15 minutes.
_RETRY_TIMEOUT = timedelta(minutes=5)
# obstore asks again when less than 5 minutes are left, so once a minute. botocore answers from memory, and renews the
# credentials of a role 10 to 15 minutes before they expire.
_CREDENTIALS_TTL = timedelta(minutes=6)
_UNLIMITED = timedelta(days=365)


class ClientFactory:
    """Endpoint and credentials of S3 as boto3 finds them; creates clients. No request is sent yet.

    Args:
        endpoint, region, profile: from DVC's configuration; None for the values that boto3 finds.

    Attributes:
        endpoint: URL of the server.
        attempts: number of times that a request is sent before its error is raised.

    Raises:
        BotoCoreError, ValueError: the configuration is wrong.
    """

    def __init__(self, *, endpoint: str | None, region: str | None, profile: str | None) -> None:
        self._session = Session(profile=profile)
        self._boto = boto3.Session(botocore_session=self._session)
        self.attempts = int(self._session.get_config_variable("max_attempts") or _ATTEMPTS)
        config = Config(
            connect_timeout=_CONNECT_TIMEOUT_S,
            read_timeout=_READ_TIMEOUT_S,
            retries={"mode": "standard", "total_max_attempts": self.attempts},
        )
        self._client = self._boto.client("s3", endpoint_url=endpoint, region_name=region, config=config)
        self.endpoint: str = self._client.meta.endpoint_url

    def connect(self, bucket: str, prefix: str) -> S3Store:
        """Send a first request, a list of names that begin with `prefix`, and return a client of the bucket.

        The first request goes through boto3, whose errors distinguish a wrong secret from a missing bucket, and which
        follows a redirect to the bucket's region, unlike obstore.

        Raises:
            ClientError, BotoCoreError: the server refuses, cannot be reached, or there are no credentials.
        """
        requests: list[AWSPreparedRequest] = []
        events = self._client.meta.events
        events.register_last("before-send.s3.ListObjectsV2", lambda request, **_: requests.append(request))
        self._client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)
        # The last request shows where the bucket is: after any redirect, and in path style, dual stack or whatever else
        # the configuration asks for. obstore gets the URL without the query and without a login.
        url = re.sub("//[^/]*@", "//", requests[-1].url.partition("?")[0].rstrip("/"))
        scope = re.search("Credential=[^/]+/[0-9]+/([^/]+)/s3/", str(requests[-1].headers["Authorization"]))
        region = scope[1] if scope else self._client.meta.region_name
        return S3Store(
            bucket,
            # Takes precedence over every endpoint that obstore reads from the environment.
            aws_endpoint_url_s3=url,
            # The URL leads to the bucket already.
            virtual_hosted_style_request=True,
            region=region,
            credential_provider=Boto3CredentialProvider(self._boto, ttl=_CREDENTIALS_TTL),
            client_options=self._options(url),
            retry_config={
                "max_retries": self.attempts - 1,
                "retry_timeout": _RETRY_TIMEOUT,
                "backoff": {
                    "init_backoff": timedelta(seconds=min(0.5, _MAX_BACKOFF_S)),
                    "max_backoff": timedelta(seconds=_MAX_BACKOFF_S),
                    "base": 2,
                },
            },
        )

    def _options(self, url: str) -> ClientConfig:
        """Return the options that obstore does not find by itself. Like boto3 it finds proxies in the environment."""
        options: ClientConfig = {
            "allow_http": url.startswith("http:"),
            "connect_timeout": timedelta(seconds=_CONNECT_TIMEOUT_S),
            "read_timeout": timedelta(seconds=_READ_TIMEOUT_S),
            # obstore would stop a large download after 30 seconds.
            "timeout": _UNLIMITED,
        }
        bundle = self._session.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
        if bundle and not options["allow_http"]:
            options["root_certificate"] = Path(bundle).read_bytes()
        return options
