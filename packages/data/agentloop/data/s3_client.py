"""A client of an S3-compatible server, and what such a server says told as one of our errors."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore import exceptions
from botocore.config import Config

from agentloop.contracts.errors import DataError, SourceNotFound, SourceUnreadable
from agentloop.data.remote_access import check_remote

CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 60
ATTEMPTS = 3

# What reading the body of an answer raises where the connection breaks.
BROKEN_OFF = (exceptions.IncompleteReadError, exceptions.HTTPClientError, OSError)

_ENDPOINT = re.compile(r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?(/[\w./-]*)?")
_REGION = re.compile(r"[A-Za-z0-9-]{1,64}")


def open_client(
    endpoint_url: str | None, region: str | None, allowed: str | None, shown: str
) -> Any:
    """A boto3 client with credentials of boto3's default chain. Where ``allowed`` is not None each
    request's host must be in it, redirects included. Raises SourceUnreadable."""
    if endpoint_url is not None and not _ENDPOINT.fullmatch(endpoint_url):
        reason = "its endpoint_url is not of the form http://host:port"
        step = "write it so; credentials belong into the environment or a profile"
        raise SourceUnreadable(shown, reason, next_step=step)
    if region is not None and not _REGION.fullmatch(region):
        raise SourceUnreadable(shown, "its region is no region's name", next_step="mend region")
    given = (
        endpoint_url or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    )
    # Other servers than Amazon's seldom have a host name for each bucket, and a list of hosts
    # would have to name them all.
    style = {"addressing_style": "path"} if given or allowed is not None else {}
    config = Config(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
        s3=style or None,
        response_checksum_validation="when_required",
    )
    with told(shown):
        client = boto3.Session().client(
            "s3", endpoint_url=endpoint_url, region_name=region, config=config
        )
    if allowed is not None:
        client.meta.events.register_first("before-send.s3", _held_to(allowed, shown))
    return client


@lru_cache(maxsize=8)
def shared_client(endpoint_url: str | None, region: str | None, allowed: str | None) -> Any:
    """One client for all files of a process: making one takes a tenth of a second."""
    return open_client(endpoint_url, region, allowed, endpoint_url or "s3://")


def _held_to(allowed: str, shown: str) -> Callable[..., None]:
    """Called before each request is sent, with the URL that it is sent to: boto3 follows a bucket
    to another region's host by itself."""

    def check(request: Any, **_: Any) -> None:
        parts = urlsplit(request.url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        check_remote(parts.hostname or "", port, allowed, shown)

    return check


@contextmanager
def told(shown: str, key: str = "") -> Iterator[None]:
    """Raises DataErrors for what boto3 raises. ``key`` is the object that was asked for."""
    try:
        yield
    except exceptions.ClientError as error:
        raise _answered(error, shown, key) from None
    except (exceptions.BotoCoreError, ValueError, OSError) as error:
        raise _unanswered(error, shown) from None


def _answered(error: Any, shown: str, key: str) -> DataError:
    found = error.response.get("Error", {})
    code = str(found.get("Code", ""))
    message = str(found.get("Message", "")).strip().rstrip(".")[:200]
    if code == "NoSuchBucket":
        return SourceNotFound(shown, next_step="check the bucket's name and endpoint_url")
    if code in ("NoSuchKey", "404", "NotFound"):
        return SourceNotFound(shown, next_step="check the bucket and the key")
    if code in ("412", "PreconditionFailed"):
        reason = "it was changed while it was read"
        return SourceUnreadable(shown, reason, next_step="run it again once nothing writes to it")
    if code in ("403", "AccessDenied", "AllAccessDisabled"):
        step = "allow these credentials s3:ListBucket and s3:GetObject on it"
        return SourceUnreadable(shown, "access is denied", next_step=step)
    if code in ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"):
        step = "renew the credentials (AWS_ACCESS_KEY_ID, AWS_PROFILE, …)"
        return SourceUnreadable(shown, f"its credentials are refused ({code})", next_step=step)
    if code in ("301", "307", "400", "PermanentRedirect", "AuthorizationHeaderMalformed"):
        step = "check region, endpoint_url and the credentials"
        return SourceUnreadable(shown, f"its server turns it away ({code})", next_step=step)
    reason = f"the server answered {code}" + (f" ({message})" if message else "")
    return SourceUnreadable(shown, reason, next_step="run it again, or see the server's log")


def _unanswered(error: Exception, shown: str) -> DataError:
    kind = type(error).__name__
    match error:
        case exceptions.NoCredentialsError() | exceptions.PartialCredentialsError():
            step = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
            return SourceUnreadable(shown, "no credentials were found", next_step=step)
        case exceptions.ProfileNotFound() | exceptions.ConfigParseError():
            reason = "the AWS profile cannot be used"
            return SourceUnreadable(shown, reason, next_step="check AWS_PROFILE and ~/.aws")
        case exceptions.SSLError():
            step = "check that endpoint_url says https only where the server does"
            return SourceUnreadable(shown, "the server's certificate is refused", next_step=step)
        case exceptions.ConnectionError() | exceptions.HTTPClientError():
            step = "check endpoint_url, and that the server runs"
            return SourceUnreadable(shown, f"its server does not answer ({kind})", next_step=step)
        case exceptions.SSOError() | exceptions.TokenRetrievalError():
            return SourceUnreadable(shown, "the login has expired", next_step="aws sso login")
        case exceptions.CredentialRetrievalError() | exceptions.MetadataRetrievalError():
            step = "check the credentials' provider"
            return SourceUnreadable(shown, "no credentials could be fetched", next_step=step)
    # The message may quote what was given, so that only its kind is told.
    step = "check path, endpoint_url and region"
    return SourceUnreadable(shown, f"it cannot be asked for ({kind})", next_step=step)
