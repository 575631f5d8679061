"""What S3's errors mean, in one sentence each."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from botocore import exceptions as boto
from obstore.exceptions import BaseError

from nofrost.errors import UserError

_CODE = re.compile(r"<Code>([A-Za-z0-9]+)</Code>")  # in the server's answer, which obstore's errors repeat
_STATUS = re.compile(r"status code: ([0-9]{3})")  # where the answer says no more, as to HEAD
_MEANINGS = {
    "SignatureDoesNotMatch": "the secret key is wrong: check AWS_SECRET_ACCESS_KEY or the profile's secret",
    "InvalidAccessKeyId": "it does not know the access key: check AWS_ACCESS_KEY_ID or the profile, and the endpoint",
    "ExpiredToken": "the session token has expired: get new credentials, then run this again",
    "InvalidToken": "the session token is not valid: get new credentials, then run this again",
    "AccessDenied": "access is denied: ask for s3:ListBucket on the bucket and s3:GetObject and s3:PutObject below it",
    "NoSuchBucket": "there is no such bucket: make it, or correct the URL",
    "InvalidBucketName": "that is no name of a bucket: correct the URL",
    "RequestTimeTooSkewed": "this machine's clock is wrong: set it",
    "PermanentRedirect": "the bucket is at another endpoint: set AWS_ENDPOINT_URL_S3 or AWS_DEFAULT_REGION to its own",
    "AuthorizationHeaderMalformed": "the region is wrong: set AWS_DEFAULT_REGION to the bucket's",
    "SlowDown": "it asks to slow down, again and again: try later, what was stored is kept",
    "BadDigest": "what is sent arrives altered: check the network and any proxy, then run this again",
    "QuotaExceeded": "the quota is used up: free space in the bucket or ask for more",
}
_SAME = {
    "XAmzContentSHA256Mismatch": "BadDigest",
    "403": "AccessDenied",
    "AllAccessDisabled": "AccessDenied",
    "RequestExpired": "ExpiredToken",
    "ExpiredTokenException": "ExpiredToken",
    "301": "PermanentRedirect",
    "IllegalLocationConstraintException": "AuthorizationHeaderMalformed",
    "503": "SlowDown",
    "ServiceUnavailable": "SlowDown",
    "429": "SlowDown",
    "TooManyRequests": "SlowDown",
}


def code_of(error: Exception) -> str:
    """Return S3's code in an error of boto3 or obstore, or the HTTP status where that is all; "" if nothing answered.

    obstore's error for what is not there is Python's FileNotFoundError, whether the object or the bucket is missing.
    """
    if isinstance(error, boto.ClientError):
        return str(error.response.get("Error", {}).get("Code", "no code"))
    if isinstance(error, boto.BotoCoreError):
        return ""
    match = _CODE.search(str(error)) or _STATUS.search(str(error))
    return match[1] if match else ""


def is_of_obstore(error: Exception) -> bool:
    """Whether obstore raised this error, and not the file system."""
    return isinstance(error, BaseError) or (isinstance(error, FileNotFoundError) and error.errno is None)


def sentence(error: Exception, url: str, endpoint: str) -> UserError:
    """Return the error of boto3 or obstore as one sentence, without anything secret.

    Args:
        error: of boto3, obstore or, of the configuration, a ValueError.
        url: of the store.
        endpoint: URL of the server.
    """
    where = f"cannot use {url}" + (f" at {without_login(endpoint)}" if endpoint else "")
    if code := code_of(error):
        meaning = _MEANINGS.get(_SAME.get(code, code), "the server refuses: look this code up")
        return UserError(f"{where}: {meaning} ({code})")
    if isinstance(error, ValueError):  # the endpoint, or a number
        return UserError(f"{where}: AWS's configuration is wrong: check AWS_ENDPOINT_URL_S3 and AWS_MAX_ATTEMPTS")
    if isinstance(error, boto.ParamValidationError):
        return UserError(f"{where}: {_MEANINGS['InvalidBucketName']}")
    if isinstance(error, boto.NoCredentialsError | boto.PartialCredentialsError):
        return UserError(f"{where}: no credentials are found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    if isinstance(error, boto.ProfileNotFound):
        return UserError(f"{where}: no such profile is configured: correct AWS_PROFILE or the remote's profile")
    if "CaUsedAsEndEntity" in str(error):  # OpenSSL, so boto3, lets it pass
        return UserError(f"{where}: its certificate is an authority's, not a server's: make one with CA:FALSE")
    if isinstance(error, boto.SSLError) or "InvalidCertificate" in str(error):
        return UserError(f"{where}: its certificate is not trusted: set AWS_CA_BUNDLE to the file of its authority")
    if isinstance(error, boto.ConnectionError | boto.HTTPClientError) or is_of_obstore(error):
        return UserError(f"{where}: {_network(error)}: check the endpoint and the network, then run this again")
    return UserError(f"{where}: boto3 refuses ({type(error).__name__}): check AWS's configuration and the URL")


def without_login(url: str) -> str:
    """Return scheme, host and port of `url`: what may be printed of it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _network(error: Exception) -> str:
    unreachable = (boto.EndpointConnectionError, boto.ConnectTimeoutError, boto.ProxyConnectionError)
    # obstore describes its errors as Rust's data types, for developers: the kind is all that is of use here.
    if isinstance(error, unreachable) or "kind: Connect" in str(error):
        return "it cannot be reached"
    if isinstance(error, boto.ReadTimeoutError) or "kind: Timeout" in str(error):
        return "it does not answer"
    return "the connection was cut"
