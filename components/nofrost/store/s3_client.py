"""A client of one bucket: boto3 finds credentials, endpoint and region, obstore moves the bytes.

boto3 knows every way in which AWS can be configured, but takes about 2.5 ms of processor time for a small request;
obstore takes a fraction of that, and resumes a download that is cut.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import boto3
from botocore import UNSIGNED
from botocore.awsrequest import AWSPreparedRequest
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError
from botocore.session import Session
from obstore.auth.boto3 import Boto3CredentialProvider
from obstore.store import S3Store

from nofrost.errors import UserError
from nofrost.limits import regular_file
from nofrost.store.base import Leftover
from nofrost.store.s3_errors import code_of

if TYPE_CHECKING:
    from obstore.store import ClientConfig, S3Config

# How often a request is sent for a person who waits, about 5 s long, and for a task that nobody watches and that loses
# its node if it fails, about 2 minutes. AWS_MAX_ATTEMPTS and the profile's setting take precedence.
ATTEMPTS, PATIENT_ATTEMPTS = 5, 12
_CONNECT_TIMEOUT_S = 10
# Without any data. obstore also counts the time in which it sends a body, so a part of 8 MiB needs 70 KB/s.
_READ_TIMEOUT_S = 120
_FIRST_BACKOFF_S, _MAX_BACKOFF_S = 0.5, 20.0
# A request is signed once for all its attempts, and S3 accepts a signature for 15 minutes.
_RETRY_TIMEOUT = timedelta(minutes=5)
# obstore asks again when less than 5 minutes are left, so once a minute. botocore answers from memory, and renews the
# credentials of a role 10 to 15 minutes before they expire.
_CREDENTIALS_TTL = timedelta(minutes=6)
_UNLIMITED = timedelta(days=365)
# Files of AWS's tools: the key in DVC's configuration, botocore's name and the variable.
_AWS_FILES = (
    ("credentialpath", "credentials_file", "AWS_SHARED_CREDENTIALS_FILE"),
    ("configpath", "config_file", "AWS_CONFIG_FILE"),
)
_AWS_HOST = re.compile(r"^https://[^/]*\.amazonaws\.com(\.cn)?$")
_PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy")


def backoff_s(attempt: int) -> float:
    """Return how long to wait after an attempt, counted from 1, that failed."""
    return min(_FIRST_BACKOFF_S * 2.0 ** (attempt - 1), _MAX_BACKOFF_S)


class ClientFactory:
    """Endpoint and credentials of S3 as DVC's remote and boto3 have them; creates clients. No request is sent yet.

    Args:
        settings: of DVC's remote, by DVC's keys. What is not there is as boto3 finds it.
        attempts: number of times that a request is sent, where the configuration does not say that.

    Attributes:
        endpoint: URL of the server.
        attempts: number of times that a request is sent before its error is raised.

    Raises:
        BotoCoreError, ValueError: the configuration is wrong.
        UserError: the file of certificates cannot be read.
    """

    def __init__(self, settings: Mapping[str, Any], attempts: int = ATTEMPTS) -> None:
        self._settings = settings
        self._session = Session(profile=settings.get("profile"))
        for key, name, variable in _AWS_FILES:
            # As in DVC, the variable takes precedence.
            if settings.get(key) and variable not in os.environ:
                self._session.set_config_variable(name, settings[key])
        self._boto = boto3.Session(
            aws_access_key_id=settings.get("access_key_id"),
            aws_secret_access_key=settings.get("secret_access_key"),
            aws_session_token=settings.get("session_token"),
            botocore_session=self._session,
        )
        self.attempts = self._configured_attempts() or attempts
        self._bundle = self._certificates()
        self._is_anonymous = bool(settings.get("allow_anonymous_login"))
        self._connect_timeout_s = settings.get("connect_timeout") or _CONNECT_TIMEOUT_S
        self._read_timeout_s = settings.get("read_timeout") or _READ_TIMEOUT_S
        config = Config(
            connect_timeout=self._connect_timeout_s,
            read_timeout=self._read_timeout_s,
            retries={"mode": "standard", "total_max_attempts": self.attempts},
            **({"signature_version": UNSIGNED} if self._is_anonymous else {}),
        )
        self._client = self._boto.client(
            "s3",
            endpoint_url=settings.get("endpointurl"),
            region_name=settings.get("region"),
            use_ssl=settings.get("use_ssl", True),
            verify=settings.get("ssl_verify"),
            config=config,
        )
        self.endpoint: str = self._client.meta.endpoint_url

    def environment(self) -> dict[str, str]:
        """Return the variables by which another process reaches the same server with the same credentials.

        Raises:
            BotoCoreError: the credentials cannot be had.
            UserError: a setting of DVC's remote has no variable.
        """
        for key, is_set in (("allow_anonymous_login", self._is_anonymous), ("ssl_verify", self._is_unverified())):
            if is_set:
                raise UserError(f"{key} of DVC's remote cannot be passed on to a container: run without containers")
        variables = {
            # AWS's own endpoint follows from the region.
            "AWS_ENDPOINT_URL_S3": None if _AWS_HOST.search(self.endpoint) else self.endpoint,
            "AWS_DEFAULT_REGION": self._settings.get("region") or self._boto.region_name,
            "AWS_CA_BUNDLE": self._bundle and str(Path(self._bundle).absolute()),
            "AWS_MAX_ATTEMPTS": str(self.attempts),
            **self._encryption(),
        }
        credentials = self._boto.get_credentials()
        if credentials is not None:
            frozen = credentials.get_frozen_credentials()
            variables |= {"AWS_ACCESS_KEY_ID": frozen.access_key, "AWS_SECRET_ACCESS_KEY": frozen.secret_key}
            variables["AWS_SESSION_TOKEN"] = frozen.token
        variables |= {name: os.environ.get(name) for name in _PROXIES}
        return {name: value for name, value in variables.items() if value}

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
        response = self._client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)
        if "html" in response["ResponseMetadata"]["HTTPHeaders"].get("content-type", ""):
            # boto3 takes a page for an empty list, and a proxy or console would accept objects and keep none.
            raise ResponseParserError("the answer is a page for people")
        # The last request shows where the bucket is: after any redirect, and in path style, dual stack or whatever else
        # the configuration asks for. obstore gets the URL without the query and without a login.
        url = re.sub("//[^/]*@", "//", requests[-1].url.partition("?")[0].rstrip("/"))
        scope = re.search("Credential=[^/]+/[0-9]+/([^/]+)/s3/", str(requests[-1].headers.get("Authorization")))
        region = scope[1] if scope else self._client.meta.region_name
        return S3Store(
            bucket,
            # Takes precedence over every endpoint that obstore reads from the environment.
            aws_endpoint_url_s3=url,
            # The URL leads to the bucket already.
            virtual_hosted_style_request=True,
            region=region,
            credential_provider=(
                None if self._is_anonymous else Boto3CredentialProvider(self._boto, ttl=_CREDENTIALS_TTL)
            ),
            client_options=self._options(url),
            config=cast(
                "S3Config",
                {
                    **{name.lower(): value for name, value in self._encryption().items()},
                    **({"skip_signature": True} if self._is_anonymous else {}),
                },
            ),
            retry_config={
                "max_retries": self.attempts - 1,
                "retry_timeout": _RETRY_TIMEOUT,
                "backoff": {
                    "init_backoff": timedelta(seconds=backoff_s(1)),
                    "max_backoff": timedelta(seconds=_MAX_BACKOFF_S),
                    "base": 2,
                },
            },
        )

    def sweep_uploads(self, bucket: str, prefix: str, least_age_s: float, *, delete: bool) -> list[Leftover]:
        """Return the unfinished uploads below `prefix`, named without it; abort those without a new part for so long.

        Raises:
            ClientError, BotoCoreError: the server refuses, or cannot be reached.
        """
        leftovers = []
        pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix)
        for upload in [upload for page in pages for upload in page.get("Uploads", ())]:
            which = {"Bucket": bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
            try:
                pages = self._client.get_paginator("list_parts").paginate(**which)
                parts = [part for page in pages for part in page.get("Parts", ())]
                latest = max([upload["Initiated"], *(part["LastModified"] for part in parts)])
                is_dead = (datetime.now(UTC) - latest).total_seconds() >= least_age_s
                if is_dead and delete:
                    self._client.abort_multipart_upload(**which)
            except ClientError as error:
                # It has been finished meanwhile.
                if code_of(error) == "NoSuchUpload":
                    continue
                raise
            size = sum(part["Size"] for part in parts)
            leftovers.append(Leftover(upload["Key"].removeprefix(prefix), size, is_dead))
        return leftovers

    def _options(self, url: str) -> ClientConfig:
        """Return the options that obstore does not find by itself. Like boto3 it finds proxies in the environment."""
        options: ClientConfig = {
            "allow_http": url.startswith("http:"),
            "allow_invalid_certificates": self._is_unverified(),
            "connect_timeout": timedelta(seconds=self._connect_timeout_s),
            "read_timeout": timedelta(seconds=self._read_timeout_s),
            # obstore would stop a large download after 30 seconds.
            "timeout": _UNLIMITED,
        }
        if self._bundle and not options["allow_http"]:
            options["root_certificate"] = regular_file(Path(self._bundle)).read_bytes()
        return options

    def _configured_attempts(self) -> int | None:
        try:
            attempts: int | None = self._session.get_config_variable("max_attempts")
        except ValueError:
            attempts = 0
        if attempts is not None and attempts < 1:
            raise UserError(
                "AWS_MAX_ATTEMPTS (or max_attempts of the profile) is no number of attempts: set it to 1 or more"
            )
        return attempts

    def _is_unverified(self) -> bool:
        return self._settings.get("ssl_verify") is False

    def _certificates(self) -> str | None:
        """Return the path of the certificates of authorities to trust; None for those that every program trusts."""
        setting = self._settings.get("ssl_verify")
        if isinstance(setting, bool):
            return None
        bundle = setting or self._session.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
        if not bundle:
            return None
        if not Path(bundle).is_file():
            raise UserError(f"{bundle}, which AWS_CA_BUNDLE or ssl_verify of DVC's remote names, is not a file: "
                            "correct the path")  # fmt: skip
        return str(bundle)

    def _encryption(self) -> dict[str, str]:
        """Return how the server should encrypt objects: names of obstore's variables, and in small letters options."""
        values = {"AWS_SERVER_SIDE_ENCRYPTION": self._settings.get("sse"),
                  "AWS_SSE_KMS_KEY_ID": self._settings.get("sse_kms_key_id")}  # fmt: skip
        return {name: value for name, value in values.items() if value}
