#!/usr/bin/env python3
"""Ask a serving endpoint whether it lives, is ready, and knows a model.

    scripts/health_check.py --endpoint http://127.0.0.1:8700 [--model NAME] --exit-on-failure

Needs Python alone, so that it runs on a machine without the platform's environment. Exit codes:
0 healthy, or unhealthy without --exit-on-failure; 1 unhealthy with it; 2 wrong arguments.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

MAX_BODY_BYTES = 1_000_000


@dataclass(frozen=True)
class Check:
    """One question, and the answer of its last attempt. ``status`` is 0 if nobody answered."""

    name: str
    url: str
    ok: bool
    status: int
    seconds: float
    attempts: int
    detail: str


class _StayHere(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer from somebody else: not followed, and not healthy."""

    def redirect_request(self, *_args: object, **_kwargs: object) -> None:
        return None


# Without proxies: a loopback endpoint asked through a company's proxy is never healthy.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), _StayHere())


def ask(name: str, url: str, timeout_s: float, attempt: int) -> Check:
    """One attempt. Never raises for what the network or the server does."""
    started = time.monotonic()

    def answer(ok: bool, status: int, detail: str) -> Check:
        seconds = round(time.monotonic() - started, 3)
        return Check(name, url, ok, status, seconds, attempt, detail)

    try:
        with _OPENER.open(url, timeout=timeout_s) as response:
            body = response.read(MAX_BODY_BYTES)
            return answer(*_judge(name, response.status, body))
    except urllib.error.HTTPError as error:
        with error:
            return answer(False, error.code, f"answered {error.code} {error.reason}")
    except (OSError, ValueError) as error:
        return answer(False, 0, str(getattr(error, "reason", error)) or type(error).__name__)


def _judge(name: str, status: int, body: bytes) -> tuple[bool, int, str]:
    if name != "model":
        return True, status, "ok"
    try:
        versions = json.loads(body).get("versions")
    except (ValueError, AttributeError):
        return False, status, "the answer is not the metadata of a model"
    return True, status, f"versions {', '.join(map(str, versions))}" if versions else "ok"


def check(
    endpoint: str,
    model: str | None,
    timeout_s: float,
    retries: int,
    wait_s: float,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Check]:
    """Every check in turn; each is tried ``1 + retries`` times."""
    base = endpoint.rstrip("/")
    questions = [("live", f"{base}/v2/health/live"), ("ready", f"{base}/v2/health/ready")]
    if model:
        questions.append(("model", f"{base}/v2/models/{urllib.parse.quote(model, safe='')}"))
    results = []
    for name, url in questions:
        for attempt in range(1, retries + 2):
            result = ask(name, url, timeout_s, attempt)
            if result.ok or attempt > retries:
                break
            sleep(wait_s)
        results.append(result)
    return results


def _endpoint(text: str) -> str:
    parts = urllib.parse.urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise argparse.ArgumentTypeError(f"'{text}' is not an http:// or https:// URL")
    return text


def _at_least(kind: Callable[[str], float], least: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = kind(text)
        if not value >= least:
            raise argparse.ArgumentTypeError(f"must be {least} or more")
        return value

    return parse


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--endpoint", required=True, type=_endpoint, metavar="URL")
    parser.add_argument("--model", metavar="NAME", help="also ask for this model's metadata")
    parser.add_argument(
        "--timeout", type=_at_least(float, 0.001), default=5.0, help="seconds an attempt"
    )
    parser.add_argument(
        "--retries", type=_at_least(int, 0), default=2, help="further attempts a check"
    )
    parser.add_argument(
        "--wait", type=_at_least(float, 0), default=1.0, help="seconds between attempts"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument(
        "--exit-on-failure", action="store_true", help="exit with 1 if a check fails"
    )
    args = parser.parse_args(argv)

    results = check(args.endpoint, args.model, args.timeout, int(args.retries), args.wait)
    healthy = all(result.ok for result in results)
    if args.json:
        report = {
            "healthy": healthy,
            "endpoint": args.endpoint,
            "checks": list(map(asdict, results)),
        }
        print(json.dumps(report))
    else:
        for result in results:
            mark = "ok  " if result.ok else "FAIL"
            print(f"{mark} {result.name:<5} {result.url} ({result.seconds:.3f} s): {result.detail}")
    return 1 if args.exit_on_failure and not healthy else 0


if __name__ == "__main__":
    sys.exit(main())
