"""A client of one bucket: boto3 finds credentials, endpoint and region, obstore moves the bytes.

boto3 knows every way in which AWS is configured, but takes 2.5 ms of processor time for a small request; obstore takes
0.6 ms, and resumes a download that is cut.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.session import Session
from obstore.auth.boto3 import Boto3CredentialProvider
from obstore.store import S3Store as Client

_ATTEMPTS = 5  # unless AWS_MAX_ATTEMPTS or the profile says otherwise
_CONNECT_TIMEOUT_S = 10
# Of silence. It also runs while the body of a request is sent: a part of 8 MiB needs 70 KB/s.
_READ_TIMEOUT_S = 120
_LONGEST_PAUSE_S = 20.0
# Requests are signed once for all their attempts, and S3 takes a signature for 15 minutes.
_RETRY_LIMIT = timedelta(minutes=5)
# obstore asks for credentials anew when fewer than 5 minutes of this are left, so once a minute. botocore answers from
# memory and renews those of a role some 10 to 15 minutes before they expire.
_CREDENTIALS_TTL = timedelta(minutes=6)
_UNLIMITED = timedelta(days=365)


@dataclass(frozen=True)
class Connection:
    """A bucket that has answered.

    Attributes:
        client: for every request.
        attempts: how often a request is made before its error is raised.
    """

    client: Client
    attempts: int


class Settings:
    """Where and as whom a bucket is reached, as boto3 finds it; nothing is sent yet.

    Args:
        endpoint, region, profile: as DVC's configuration has them; None for what boto3 finds by itself.

    Attributes:
        endpoint: URL of the server.

    Raises:
        BotoCoreError, ValueError: the configuration is wrong.
    """

    def __init__(self, *, endpoint: str | None, region: str | None, profile: str | None) -> None:
        self._session = Session(profile=profile)
        self._boto = boto3.Session(botocore_session=self._session)
        self._attempts = int(self._session.get_config_variable("max_attempts") or _ATTEMPTS)
        self._configured_endpoint = endpoint
        self._boto_client = self._make_client(region)
        self.endpoint: str = self._boto_client.meta.endpoint_url

    def connect(self, bucket: str, prefix: str) -> Connection:
        """Ask the server for a first answer, about what begins with `prefix`, and connect to where the bucket is.

        boto3 asks, because it follows a redirect to the bucket's own region, which obstore does not.

        Raises:
            ClientError, BotoCoreError: the server refuses, cannot be reached, or no credentials are found.
        """
        answer = self._boto_client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)
        configured = self._boto_client.meta.region_name
        region = answer["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region", configured)
        if region != configured:
            self._boto_client = self._make_client(region)
        # The URL that boto3 would send to, without the login that an endpoint may have: it depends on the region, the
        # name of the bucket, and on what the configuration says about paths, dual stacks and accelerated endpoints.
        signed = self._boto_client.generate_presigned_url("head_bucket", Params={"Bucket": bucket})
        url = re.sub("//[^/]*@", "//", signed.partition("?")[0].rstrip("/"))
        client = Client(
            bucket,
            aws_endpoint_url_s3=url,  # this one wins over any that obstore itself finds in the environment
            virtual_hosted_style_request=True,  # it already leads to the bucket
            region="us-east-1" if region == "aws-global" else region,
            credential_provider=Boto3CredentialProvider(self._boto, ttl=_CREDENTIALS_TTL),
            client_options=self._client_options(url),
            retry_config={
                "max_retries": self._attempts - 1,
                "retry_timeout": _RETRY_LIMIT,
                "backoff": {
                    "init_backoff": timedelta(seconds=min(0.5, _LONGEST_PAUSE_S)),
                    "max_backoff": timedelta(seconds=_LONGEST_PAUSE_S),
                    "base": 2,
                },
            },
        )
        return Connection(client, self._attempts)

    def _make_client(self, region: str | None) -> Any:
        config = Config(
            connect_timeout=_CONNECT_TIMEOUT_S,
            read_timeout=_READ_TIMEOUT_S,
            retries={"mode": "standard", "total_max_attempts": self._attempts},
        )
        return self._boto.client("s3", endpoint_url=self._configured_endpoint, region_name=region, config=config)

    def _client_options(self, url: str) -> Any:
        """Return what obstore does not find by itself. Proxies it takes from the environment, as boto3 does."""
        options: dict[str, Any] = {
            "allow_http": url.startswith("http:"),
            "connect_timeout": timedelta(seconds=_CONNECT_TIMEOUT_S),
            "read_timeout": timedelta(seconds=_READ_TIMEOUT_S),
            "timeout": _UNLIMITED,  # a large object takes as long as it takes
        }
        bundle = self._session.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
        if bundle and not options["allow_http"]:
            options["root_certificate"] = Path(bundle).read_bytes()
        return options
