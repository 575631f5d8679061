"""A connection to a bucket: credentials, endpoint and region as boto3 finds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import boto3
from botocore.config import Config
from botocore.session import Session

from nofrost.store.s3_requests import Requests

_ATTEMPTS = 5  # unless AWS_MAX_ATTEMPTS or the profile says otherwise
_CONNECT_TIMEOUT_S = 10
_READ_TIMEOUT_S = 60


@dataclass(frozen=True)
class Connection:
    """What a bucket is reached by.

    Attributes:
        client: of boto3, for what is done once.
        requests: for what is done for every file.
    """

    client: Any
    requests: Requests


def make_client(*, endpoint: str | None, region: str | None, profile: str | None, jobs: int) -> tuple[Session, Any]:
    """Return a session of botocore and a client of boto3; nothing is sent yet.

    Raises:
        BotoCoreError, ValueError: the configuration is wrong.
    """
    session = Session(profile=profile)
    # Nobody looks at the times in a list of objects, and to parse them takes most of the time of reading it.
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=str)
    config = Config(
        connect_timeout=_CONNECT_TIMEOUT_S,
        read_timeout=_READ_TIMEOUT_S,
        max_pool_connections=jobs,
        retries={"mode": "standard", "total_max_attempts": session.get_config_variable("max_attempts") or _ATTEMPTS},
        # Every object has its MD5 in its name and its request; older servers know no newer checksums.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    made = boto3.Session(botocore_session=session)
    return session, made.client("s3", endpoint_url=endpoint, region_name=region, config=config)


def connect(session: Session, client: Any, bucket: str, prefix: str) -> Connection:
    """Ask the server for a first answer, about what begins with `prefix`, and note where the bucket is.

    Raises:
        ClientError, BotoCoreError: the server refuses, cannot be reached, or no credentials are found.
    """
    signed: list[tuple[str, str]] = []

    def note(request: Any, **_: Any) -> None:
        signed.append((request.url, request.context.get("signing", {}).get("region") or client.meta.region_name))

    client.meta.events.register_last("request-created.s3.ListObjectsV2", note)
    # boto3 follows a redirect to the bucket's own region.
    client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)
    client.meta.events.unregister("request-created.s3.ListObjectsV2", note)
    url, region = signed[-1]
    bucket_url = urlunsplit((*urlsplit(url)[:3], "", "")).rstrip("/")
    return Connection(client, Requests(session, client, bucket_url, region))
