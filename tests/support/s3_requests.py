"""What an S3 request is: its kind, its object; and how it is signed anew when a proxy has changed it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl, unquote

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

RequestKind = Literal[
    "get", "get range", "head", "put", "copy", "list", "delete",
    "create upload", "put part", "complete upload", "abort upload", "list uploads", "list parts", "bucket",
]  # fmt: skip
WRITES: frozenset[RequestKind] = frozenset({"put", "copy", "delete", "complete upload"})
"""The kinds that change what a listing shows."""

OF_UPLOAD: Mapping[str, RequestKind] = {
    "PUT": "put part",
    "POST": "complete upload",
    "DELETE": "abort upload",
    "GET": "list parts",
}
NO_LIST = frozenset({"location", "versioning", "acl", "policy", "lifecycle", "cors", "tagging"})
"""Parameters of a GET on a bucket that asks for something else than its objects."""

DROPPED_WHEN_SIGNED = frozenset({"authorization", "x-amz-date", "x-amz-security-token", "expect"})


@dataclass
class Asked:
    """One request as it came to a proxy, and what became of it. `n` counts all of them, `n_of_kind` those of its kind, both
    from 0; `fault` is what was done to it, "" if nothing was; `status` 0 is no answer; `up` and `down` are bytes of bodies.
    """

    n: int
    n_of_kind: int
    kind: RequestKind
    method: str
    bucket: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    when: float
    up: int = 0
    down: int = 0
    status: int = 0
    fault: str = ""

    @property
    def is_conditional(self) -> bool:
        """Whether it writes only if the object is absent."""
        return self.headers.get("if-none-match") == "*"


def split_path(raw_path: str) -> tuple[str, str]:
    """(bucket, key) of a path-style URL's path."""
    bucket, _, key = unquote(raw_path).removeprefix("/").partition("/")
    return bucket, key


def query_of(raw_query: str) -> dict[str, str]:
    """The parameters of a query string, blank ones too."""
    return dict(parse_qsl(raw_query, keep_blank_values=True))


def kind_of(method: str, key: str, query: Mapping[str, str], headers: Mapping[str, str]) -> RequestKind:
    """What a request is for."""
    kind: RequestKind = "head"
    if not key:
        if method == "GET":
            kind = "list uploads" if "uploads" in query else "bucket" if NO_LIST & set(query) else "list"
        else:
            kind = "delete" if "delete" in query else "bucket"
    elif "uploads" in query:
        kind = "create upload"
    elif "uploadId" in query:
        kind = OF_UPLOAD[method]
    elif method == "GET":
        kind = "get range" if "range" in headers else "get"
    elif method == "PUT":
        kind = "copy" if "x-amz-copy-source" in headers else "put"
    elif method == "DELETE":
        kind = "delete"
    return kind


def signed(
    method: str, url: str, headers: Mapping[str, str], body: bytes, *, access_key: str, secret_key: str, region: str
) -> dict[str, str]:
    """The headers with a signature of their own; `headers` are lower case, and have the host that the client signed."""
    kept = {name: value for name, value in headers.items() if name not in DROPPED_WHEN_SIGNED}
    request = AWSRequest(method=method, url=url, data=body, headers=kept)
    _Signer(Credentials(access_key, secret_key), region, kept.get("x-amz-content-sha256")).add_auth(request)
    return {name.lower(): str(value) for name, value in request.headers.items()}


class _Signer(S3SigV4Auth):
    """Keeps the payload's hash that the client named, if it did: it may be a marker, as for aws-chunked bodies."""

    def __init__(self, credentials: Credentials, region: str, hash_named: str | None) -> None:
        super().__init__(credentials, "s3", region)
        self._hash_named = hash_named

    def payload(self, request: AWSRequest) -> str:
        return self._hash_named or str(super().payload(request))
