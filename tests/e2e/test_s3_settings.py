"""Endpoint, profile, region, anonymous reads, requester-pays, encryption: what the user sets reaches each request, of roots and of sources."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
from support.places import S3Place
from support.runs import make_config, run_inline
from support.s3_fixtures import MakeProxy
from support.s3_proxy import S3Proxy
from support.s3_requests import Asked
from support.s3_servers import S3Root

from shardpipe.storage.store import open_store

pytestmark = [pytest.mark.s3, pytest.mark.parametrize("place", ["moto"], indirect=True)]
OF_ENVIRONMENT = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION")
UPLOAD_BYTES = (16 << 20) + 1
"""So large is put in parts."""


@pytest.fixture
def proxy(place: S3Place, s3_proxy: MakeProxy) -> S3Proxy:
    return s3_proxy(place.s3.server)


@pytest.fixture
def set_s3(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """As FSSPEC_S3 does, which fsspec reads when it is imported."""

    def set_it(**options: Any) -> None:
        found: dict[str, dict[str, Any]] = {}
        fsspec.config.set_conf_env(found, {"FSSPEC_S3": json.dumps(options)})
        monkeypatch.setitem(fsspec.config.conf, "s3", found["s3"])

    return set_it


@pytest.fixture
def sources(place: S3Place, videos: Path) -> str:
    return place.root({path.name: path.read_bytes() for path in videos.glob("*.mp4")})


@pytest.fixture
def do_all(place: S3Place, sources: str, tmp_path: Path) -> Callable[[], S3Root]:
    """Cuts the sources, and asks all else that a root is asked; gives the root."""

    def do() -> S3Root:
        config = make_config(place.root(), sources)
        assert not run_inline(config).pending
        store = open_store(config.root)
        (tmp_path / "large").write_bytes(bytes(UPLOAD_BYTES))
        store.put_file("clips/shards/large.tar", tmp_path / "large")
        (tmp_path / "small").write_bytes(b"1")
        store.overwrite("clips/shards/small.tar", tmp_path / "small")
        assert store.age_s("clips/shards/small.tar") is not None
        assert store.read_range("clips/shards/small.tar", 0, 1) == b"1"
        assert store.uploads() == []
        return place.seen(config.root)

    return do


def is_signed_by(asked: Asked, key: str, region: str) -> bool:
    return f"Credential={key}/" in asked.headers.get("authorization", "") and f"/{region}/s3/" in str(asked.headers)


def test_endpoint_and_keys_of_the_environment(
    place: S3Place, proxy: S3Proxy, do_all: Callable[[], S3Root], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of `place.s3.server` comes through the proxy, which AWS_ENDPOINT_URL names: no request finds another way."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-7")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a token of the session")
    do_all()
    kinds = {asked.kind for asked in proxy.asked}
    assert kinds >= {"get range", "head", "put", "list", "delete", "create upload", "put part", "complete upload"}
    assert all(is_signed_by(asked, place.s3.server.access_key, "eu-north-7") for asked in proxy.asked)
    assert {asked.headers["x-amz-security-token"] for asked in proxy.asked} == {"a token of the session"}


def test_a_profile(
    proxy: S3Proxy, do_all: Callable[[], S3Root], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in OF_ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    lines = ["[profile films]", "region = ap-south-9", f"endpoint_url = {proxy.url}"]
    lines += ["aws_access_key_id = FROMPROFILE", "aws_secret_access_key = secret"]
    (tmp_path / "config").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "films")
    do_all()
    assert proxy.asked
    assert all(is_signed_by(asked, "FROMPROFILE", "ap-south-9") for asked in proxy.asked)


def test_anonymous_reads(
    place: S3Place, proxy: S3Proxy, sources: str, set_s3: Callable[..., None], tmp_path: Path
) -> None:
    public, client = place.seen(sources), place.s3.server.client
    client.put_bucket_acl(Bucket=public.bucket, ACL="public-read")
    for path in public.sizes():
        client.put_object_acl(Bucket=public.bucket, Key=public.key(path), ACL="public-read")
    set_s3(anon=True)
    store = open_store(sources, read_only=True)
    assert len(store.list("")) == 2
    assert store.read("v0.mp4")[:2] == store.read_range("v0.mp4", 0, 2)
    assert store.size("v0.mp4")
    assert not run_inline(make_config(tmp_path / "root", sources)).failed_units
    assert len(proxy.asked) > 8
    assert not [asked for asked in proxy.asked if "authorization" in asked.headers]


def test_requester_pays(proxy: S3Proxy, do_all: Callable[[], S3Root], set_s3: Callable[..., None]) -> None:
    set_s3(requester_pays=True)
    do_all()
    unpaid = {asked.kind for asked in proxy.asked if asked.headers.get("x-amz-request-payer") != "requester"}
    assert unpaid == set()


@pytest.mark.parametrize("key", [None, "arn:aws:kms:us-east-1:111122223333:key/one"])
def test_encryption(proxy: S3Proxy, do_all: Callable[[], S3Root], set_s3: Callable[..., None], key: str | None) -> None:
    """Whatever makes an object says how it is to be encrypted; parts go by what their upload said."""
    wanted = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key} if key else {"ServerSideEncryption": "AES256"}
    set_s3(s3_additional_kwargs=wanted)
    root = do_all()
    makes = [asked for asked in proxy.asked if asked.kind in ("put", "create upload")]
    assert {asked.kind for asked in makes} == {"put", "create upload"}
    for asked in makes:
        assert asked.headers.get("x-amz-server-side-encryption") == wanted["ServerSideEncryption"]
        assert asked.headers.get("x-amz-server-side-encryption-aws-kms-key-id") == key
    for path in root.sizes():
        head = root.server.client.head_object(Bucket=root.bucket, Key=root.key(path))
        assert head.get("ServerSideEncryption") == wanted["ServerSideEncryption"], path
