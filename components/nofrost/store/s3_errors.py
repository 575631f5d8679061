"""Errors of S3 as messages for users, without secrets."""

import re
from urllib.parse import urlsplit

from botocore import exceptions as boto
from botocore.parsers import ResponseParserError
from obstore.exceptions import BaseError

from nofrost.errors import UnavailableError, UserError

_MEANINGS = {
    "SignatureDoesNotMatch": "the secret key is wrong: check AWS_SECRET_ACCESS_KEY or the profile's secret",
    "InvalidAccessKeyId": "the server does not know the access key: check AWS_ACCESS_KEY_ID, profile and endpoint",
    "ExpiredToken": "the session token has expired: get new credentials, then run this again",
    "InvalidToken": "the session token is not valid: get new credentials, then run this again",
    "AccessDenied": "access is denied: ask for s3:ListBucket on the bucket and s3:GetObject and s3:PutObject below it",
    "NoSuchBucket": "there is no such bucket: create it, or correct the URL",
    "InvalidBucketName": "no bucket can have this name: correct the URL",
    "RequestTimeTooSkewed": "this machine's clock is wrong: set it",
    "PermanentRedirect": "the bucket is at another endpoint: set AWS_ENDPOINT_URL_S3 or AWS_DEFAULT_REGION to its own",
    "AuthorizationHeaderMalformed": "the region is wrong: set AWS_DEFAULT_REGION to the bucket's",
    "SlowDown": "the server is busy, after several attempts: try again later, what was pushed is kept",
    "InternalError": "the server has an error of its own, after several attempts: try again later",
    "BadDigest": "content arrives altered at the server: check the network and any proxy, then run this again",
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
    **dict.fromkeys(("500", "502", "504", "InternalServerError", "BadGateway"), "InternalError"),
    "XAmzContentSHA256Mismatch": "BadDigest",
}
# What may be otherwise a while later; so may all problems of the network.
_PASSING = frozenset(("SlowDown", "InternalError", "RequestTimeout", "BadDigest"))
_NETWORK_REMEDY = "check the endpoint and the network, then run this again"
_UNREACHABLE = f"it cannot be reached: {_NETWORK_REMEDY}"
_SILENT = f"it does not answer: {_NETWORK_REMEDY}"
_CUT = f"the connection was cut: {_NETWORK_REMEDY}"
# What a server answers when the path of a request is not that of a bucket.
_WRONG_PLACE = frozenset(("NoSuchKey", "404", "NoSuchBucket", "403", "AccessDenied", "405", "MethodNotAllowed"))
# obstore's errors repeat the server's answer: XML with a code, or a status alone, as to a HEAD request.
_CODE = re.compile(r"<Code>([A-Za-z0-9]+)</Code>")
_STATUS = re.compile(r"status code: ([0-9]{3})")


def code_of(error: Exception) -> str:
    """Return S3's code in an error of boto3 or obstore, or else the HTTP status; "" if the server did not answer.

    obstore raises FileNotFoundError both for a missing object and for a missing bucket; only the code differs.
    """
    if isinstance(error, boto.ClientError):
        return str(error.response.get("Error", {}).get("Code", "no code"))
    if not is_of_obstore(error):
        return ""
    match = _CODE.search(str(error)) or _STATUS.search(str(error))
    return match[1] if match else ""


def is_of_obstore(error: Exception) -> bool:
    """Return whether obstore raised this error: its FileNotFoundError has no errno, unlike the operating system's."""
    return isinstance(error, BaseError) or (isinstance(error, FileNotFoundError) and error.errno is None)


def user_error(error: Exception, url: str, endpoint: str, bucket: str) -> UserError:
    """Return an error as one sentence.

    Args:
        error: of boto3 or obstore, or a ValueError of boto3's about the configuration.
        url: of the store.
        endpoint: URL of the server.
        bucket: name of the bucket.
    """
    where = f"cannot use {url}" + (f" at {without_login(endpoint)}" if endpoint else "")
    if code_of(error) in _WRONG_PLACE and _may_contain_bucket(endpoint, bucket):
        # The bucket follows the endpoint in every request: the server took its name for that of an object.
        return UserError(
            f"{where}: the endpoint seems to contain a bucket: leave the bucket (and what follows it) out of "
            f"AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL or the remote's endpointurl ({code_of(error)})"
        )
    code, meaning = code_of(error), _meaning(error)
    is_passing = _SAME.get(code, code) in _PASSING or meaning in (_UNREACHABLE, _SILENT, _CUT)
    return (UnavailableError if is_passing else UserError)(f"{where}: {meaning}")


def _may_contain_bucket(endpoint: str, bucket: str) -> bool:
    parts = urlsplit(endpoint)
    return bool(parts.path.strip("/")) or (parts.hostname or "").startswith(f"{bucket.lower()}.")


def without_login(url: str) -> str:
    """Return scheme, host and port of `url`, which are safe to print."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _meaning(error: Exception) -> str:
    if code := code_of(error):
        return f"{_MEANINGS.get(_SAME.get(code, code), 'the server refuses: look this code up')} ({code})"
    # obstore describes its other errors as data structures of Rust: only their kinds are of use here.
    text = str(error) if is_of_obstore(error) else ""
    match error:
        case boto.InvalidRegionError():
            region = error.kwargs.get("region_name")
            return f"{region!r} is not a region: correct AWS_DEFAULT_REGION, or the region of the profile or remote"
        case boto.ConfigParseError():
            return f"AWS's file {error.kwargs.get('path')} cannot be read: correct it"
        case ResponseParserError():
            return "what answers there is not S3: check the endpoint"
        case boto.TokenRetrievalError() | boto.UnauthorizedSSOTokenError() | boto.SSOTokenLoadError():
            return "the session of the single sign-on has ended: sign in again with `aws sso login`"
        case _ if "Invalid header value" in str(error):
            return "a credential contains a line break: check AWS_ACCESS_KEY_ID, its secret and AWS_SESSION_TOKEN"
        case ValueError() if "endpoint" in str(error).lower():
            return (
                "AWS's configuration is wrong: check AWS_ENDPOINT_URL_S3 (or endpointurl of the remote): it is no URL"
            )
        case ValueError():
            return "AWS's configuration is wrong: check its variables, the profile and the remote's settings"
        case boto.ParamValidationError():
            return _MEANINGS["InvalidBucketName"]
        case boto.NoCredentialsError() | boto.PartialCredentialsError():
            return "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        case boto.ProfileNotFound():
            return "there is no such profile: correct AWS_PROFILE or the remote's profile"
        case boto.EndpointConnectionError() | boto.ConnectTimeoutError() | boto.ProxyConnectionError():
            return _UNREACHABLE
        case boto.ReadTimeoutError():
            return _SILENT
        case _ if "CaUsedAsEndEntity" in text:
            # OpenSSL, and so boto3, accepts this.
            return "its certificate is an authority's, not a server's: create one with CA:FALSE"
        case _ if isinstance(error, boto.SSLError) or "InvalidCertificate" in text:
            return "its certificate is not trusted: set AWS_CA_BUNDLE to the file of its authority"
        case boto.ConnectionError() | boto.HTTPClientError() | BaseError():
            kinds = {"kind: Connect": _UNREACHABLE, "kind: Timeout": _SILENT}
            return next((kinds[kind] for kind in kinds if kind in text), _CUT)
        case _:
            return f"boto3 refuses ({type(error).__name__}): check AWS's configuration and the URL"
