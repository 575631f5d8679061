"""What S3's errors mean, in one sentence each."""

from __future__ import annotations

from urllib.parse import urlsplit

from botocore import exceptions as boto

from nofrost.errors import UserError
from nofrost.store.s3_requests import NETWORK_ERRORS

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
    "QuotaExceeded": "the quota is used up: free space in the bucket or ask for more",
}
_SAME = {
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


def sentence(error: Exception, url: str, endpoint: str) -> UserError:
    """Return the error of boto3 or botocore as one sentence, without anything secret.

    Args:
        error: a ClientError, BotoCoreError or, of the configuration, a ValueError.
        url: of the store.
        endpoint: URL of the server.
    """
    where = f"cannot use {url}" + (f" at {without_login(endpoint)}" if endpoint else "")
    if isinstance(error, boto.ClientError):
        code = str(error.response.get("Error", {}).get("Code", "no code"))
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
    if isinstance(error, boto.SSLError):
        return UserError(f"{where}: its certificate is not trusted: set AWS_CA_BUNDLE to the file of its authority")
    if isinstance(error, NETWORK_ERRORS):
        return UserError(f"{where}: {_network(error)}: check the endpoint and the network, then run this again")
    return UserError(f"{where}: boto3 refuses ({type(error).__name__}): check AWS's configuration and the URL")


def without_login(url: str) -> str:
    """Return scheme, host and port of `url`: what may be printed of it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _network(error: Exception) -> str:
    if isinstance(error, boto.EndpointConnectionError | boto.ConnectTimeoutError | boto.ProxyConnectionError):
        return "it cannot be reached"
    return "it does not answer" if isinstance(error, boto.ReadTimeoutError) else "the connection was cut"
