"""The proxy that other tests of S3 rest on: it changes nothing unless told to, and then does what it was told."""

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import botocore.session
import pytest
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.exceptions import ClientError, FlexibleChecksumError, HTTPClientError
from support.s3_faults import Fault
from support.s3_fixtures import MakeProxy
from support.s3_proxy import S3Proxy
from support.s3_requests import Asked
from support.s3_servers import REGION, S3Root

PART_BYTES = 5 << 20


@pytest.fixture
def root(each_root: S3Root) -> S3Root:
    return each_root


@pytest.fixture
def proxy(root: S3Root, s3_proxy: MakeProxy) -> S3Proxy:
    return s3_proxy(root.server, stall_s=1.0)


@pytest.fixture
def client(proxy: S3Proxy) -> Iterator[Any]:
    with once() as made:
        yield made


@contextmanager
def once(timeout_s: float = 60.0) -> Iterator[Any]:
    """A client as users have it, out of the environment, but one that tries once."""
    options = Config(retries={"total_max_attempts": 1}, read_timeout=timeout_s)
    made = botocore.session.Session().create_client("s3", config=options)
    yield made
    made.close()


def get(client: Any, root: S3Root, key: str, **more: str) -> bytes:
    body: bytes = client.get_object(Bucket=root.bucket, Key=key, **more)["Body"].read()
    return body


def status(error: pytest.ExceptionInfo[ClientError]) -> int:
    code: int = error.value.response["ResponseMetadata"]["HTTPStatusCode"]
    return code


def test_everything_passes_and_is_counted(root: S3Root, proxy: S3Proxy, client: Any) -> None:
    odd, data = "root/ünï +&=% çødé?/視頻", os.urandom(300_000)
    client.put_object(Bucket=root.bucket, Key=odd, Body=data, IfNoneMatch="*")
    assert get(client, root, odd) == data
    assert get(client, root, odd, Range="bytes=10-19") == data[10:20]
    assert client.head_object(Bucket=root.bucket, Key=odd)["ContentLength"] == len(data)
    upload = client.create_multipart_upload(Bucket=root.bucket, Key="root/big")["UploadId"]
    parts = [os.urandom(PART_BYTES), b"end"]
    of = {"Bucket": root.bucket, "Key": "root/big", "UploadId": upload}
    tags = [client.upload_part(**of, PartNumber=i + 1, Body=part)["ETag"] for i, part in enumerate(parts)]
    assert root.uploads() == {upload: "big"}
    made = {"Parts": [{"PartNumber": i + 1, "ETag": tag} for i, tag in enumerate(tags)]}
    client.complete_multipart_upload(**of, MultipartUpload=made)
    assert hashlib.sha256(get(client, root, "root/big")).digest() == hashlib.sha256(b"".join(parts)).digest()
    listed = client.list_objects_v2(Bucket=root.bucket, Prefix="root/")["Contents"]
    assert [(each["Key"], each["Size"]) for each in listed] == [("root/big", PART_BYTES + 3), (odd, len(data))]
    client.delete_object(Bucket=root.bucket, Key=odd)
    with pytest.raises(ClientError) as missing:
        get(client, root, odd)
    assert status(missing) == 404
    seen = {kind: (each.requests, each.up) for kind, each in proxy.traffic().items()}
    assert seen["put"] == (1, len(data))
    assert seen["put part"] == (2, PART_BYTES + 3)
    assert {kind: n for kind, (n, _) in seen.items() if kind not in ("put", "put part")} == {
        "get": 3, "get range": 1, "head": 1, "create upload": 1, "complete upload": 1, "list": 1, "delete": 1,
    }  # fmt: skip
    assert proxy.traffic()["get range"].down == 10
    assert proxy.asked[0].is_conditional
    assert (proxy.asked[0].key, proxy.asked[0].status) == (odd, 200)


def test_a_body_in_chunks_passes(root: S3Root, proxy: S3Proxy) -> None:
    """Of unknown length, with Expect: 100-continue, as botocore sends what it cannot hash before."""
    from http.client import HTTPConnection

    from botocore.auth import S3SigV4Auth
    from botocore.credentials import Credentials

    url = f"{proxy.url}/{root.bucket}/root/chunks"
    request = AWSRequest(
        method="PUT", url=url, headers={"x-amz-content-sha256": hashlib.sha256(b"onetwo").hexdigest()}, data=b"onetwo"
    )
    S3SigV4Auth(Credentials(root.server.access_key, root.server.secret_key), "s3", REGION).add_auth(request)
    connection = HTTPConnection(proxy.url.removeprefix("http://"), timeout=5)
    headers = {**dict(request.headers.items()), "Expect": "100-continue", "Transfer-Encoding": "chunked"}
    connection.request("PUT", f"/{root.bucket}/root/chunks", iter([b"one", b"two"]), headers, encode_chunked=True)
    assert connection.getresponse().status == 200
    connection.close()
    assert root.read("chunks") == b"onetwo"


@pytest.mark.parametrize(
    ("fault", "performed"),
    [("500", False), ("503", False), ("reset", False), ("stall", False), ("lost", True)],
)
def test_faults_of_writes(root: S3Root, proxy: S3Proxy, client: Any, fault: Fault, performed: bool) -> None:  # noqa: FBT001
    proxy.fault(fault, lambda asked: asked.kind == "put" and asked.key == "root/a", times=1)
    client.put_object(Bucket=root.bucket, Key="root/b", Body=b"other")
    with pytest.raises((ClientError, HTTPClientError)) as error:
        client.put_object(Bucket=root.bucket, Key="root/a", Body=b"a")
    if fault in ("500", "503"):
        assert status(error) == int(fault)
    assert ("a" in root.sizes()) == performed
    client.put_object(Bucket=root.bucket, Key="root/a", Body=b"a")
    assert [asked.fault for asked in proxy.asked] == ["", fault, ""]


def test_a_late_write_comes_when_its_client_has_gone(root: S3Root, s3_proxy: MakeProxy) -> None:
    s3_proxy(root.server, stall_s=3.0).fault("late")
    with once(timeout_s=0.3) as client, pytest.raises(HTTPClientError):
        client.put_object(Bucket=root.bucket, Key="root/a", Body=b"a")
    assert root.sizes() == {}
    end = time.monotonic() + 60
    while not root.sizes() and time.monotonic() < end:
        time.sleep(0.1)
    assert root.sizes() == {"a": 1}


@pytest.mark.parametrize("fault", ["500", "503", "reset", "stall", "cut", "short", "lost"])
@pytest.mark.parametrize("span", [{}, {"Range": "bytes=1-50000"}])
def test_faults_of_reads(root: S3Root, proxy: S3Proxy, client: Any, fault: Fault, span: dict[str, str]) -> None:
    whole = bytes(range(256)) * 400
    root.write("a", whole)
    wanted = whole[1:50001] if span else whole
    proxy.fault(fault, times=1)
    # only where the object was put with a checksum, which moto gives back, can the client tell
    if fault == "short" and (root.server.kind == "ceph" or span):
        assert get(client, root, "root/a", **span) == wanted[: len(wanted) // 2]
    else:
        with pytest.raises(FlexibleChecksumError if fault == "short" else (ClientError, HTTPClientError)):
            get(client, root, "root/a", **span)
    assert get(client, root, "root/a", **span) == wanted


def test_random_faults_come_again_by_their_seed(root: S3Root, proxy: S3Proxy, client: Any) -> None:
    def faults(seed: int) -> list[str]:
        proxy.forget()
        proxy.no_faults()
        proxy.faults_at_random(seed=seed, rate=0.3, faults=["500", "503", "cut"])
        for _ in range(40):
            with suppress(ClientError, HTTPClientError):
                get(client, root, "root/a")
        return [asked.fault for asked in proxy.asked]

    root.write("a", b"x" * 100)
    first = faults(1)
    assert faults(1) == first
    assert faults(2) != first
    assert set(first) == {"", "500", "503", "cut"}
    assert 4 <= 40 - first.count("") <= 20


def test_conditions_are_stripped(root: S3Root, proxy: S3Proxy, client: Any) -> None:
    def create(data: bytes) -> None:
        client.put_object(Bucket=root.bucket, Key="root/a b", Body=data, IfNoneMatch="*")

    create(b"1")
    with pytest.raises(ClientError) as refused:
        create(b"2")
    assert status(refused) == 412
    proxy.strip_conditions()
    create(b"3")
    assert root.read("a b") == b"3"


def test_lists_are_late(root: S3Root, proxy: S3Proxy, client: Any) -> None:
    def listed(**more: Any) -> list[str]:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=root.bucket, **more)
        return [each["Key"] for page in pages for each in page.get("Contents", [])]

    for name in ("old", "gone", "ö &"):
        client.put_object(Bucket=root.bucket, Key=f"root/{name}", Body=b"x")
    proxy.delay_lists(requests=3)
    assert listed() == sorted(["root/old", "root/gone", "root/ö &"])
    client.delete_object(Bucket=root.bucket, Key="root/gone")
    client.put_object(Bucket=root.bucket, Key="root/new/er", Body=b"x")
    assert "root/gone" in listed()
    assert "root/new/er" not in listed()
    assert [listed() for _ in range(3)][-1] == ["root/new/er", "root/old", "root/ö &"]
    assert listed(Prefix="root/", Delimiter="/") == ["root/old", "root/ö &"]
    assert listed(PaginationConfig={"PageSize": 1}) == ["root/new/er", "root/old", "root/ö &"]
    assert listed(Prefix="root/new/") == ["root/new/er"]
    groups = client.list_objects_v2(Bucket=root.bucket, Prefix="root/", Delimiter="/")["CommonPrefixes"]
    assert groups == [{"Prefix": "root/new/"}]
    proxy.delay_lists(seconds=3)
    listed()
    client.delete_object(Bucket=root.bucket, Key="root/old")
    assert "root/old" in listed()
    time.sleep(3.1)
    assert "root/old" not in listed()


def test_a_predicate_sees_the_request(root: S3Root, proxy: S3Proxy, client: Any) -> None:
    seen: list[Asked] = []

    def second_put(asked: Asked) -> bool:
        seen.append(asked)
        return asked.kind == "put" and asked.n_of_kind == 1

    proxy.fault("lost", second_put)
    client.list_objects_v2(Bucket=root.bucket, Prefix="root/")
    client.put_object(Bucket=root.bucket, Key="root/a", Body=b"")
    with pytest.raises(HTTPClientError):
        client.put_object(Bucket=root.bucket, Key="root/b", Body=b"bb")
    assert [(each.kind, each.n, each.n_of_kind, each.up) for each in seen] == [
        ("list", 0, 0, 0), ("put", 1, 0, 0), ("put", 2, 1, 2),
    ]  # fmt: skip
    assert seen[0].query["prefix"] == "root/"
    assert root.sizes() == {"a": 0, "b": 2}
