"""What is told from other text as a secret, and what is not."""

import io
import json
import logging
import pickle
import sys
import traceback
from pathlib import Path

import pytest

from shardpipe.core.errors import MediaError, StoreError
from shardpipe.core.secrets import HIDDEN, Redacting, clean_cause, known_secrets, redact, secret_in

SIGNED = (
    "https://b.s3.amazonaws.com/a.mp4?X-Amz-Credential=AK%2F20260101&X-Amz-Signature=5f3a&X-Amz-Security-Token=Fw%3D"
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "NETRC", "HF_HOME", "FSSPEC_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("https://me:planted@host/a.mp4", "a password"),
        ("https://planted@host/a.mp4", "a password"),
        ("s3://AKIAEXAMPLE:pla/nted+key@bucket/run", "a password"),
        ("zip://a.mp4::https://me:pla@nted@host/all.zip", "a password"),
        (SIGNED, "X-Amz-Credential"),
        ("https://a.blob.core.windows.net/c/a.mp4?sv=2024&se=2026&sig=planted%2B1", "sig"),
        ("https://bucket.s3.amazonaws.com/a.mp4?AWSAccessKeyId=AK&Expires=1&Signature=planted", "AWSAccessKeyId"),
        ("https://cdn/a.mp4?Expires=1&Signature=planted&Key-Pair-Id=K1", "Signature"),
        ("https://storage.googleapis.com/b/a.mp4?X-Goog-Signature=planted", "X-Goog-Signature"),
        ("https://host/a.mp4?token=planted", "token"),
        ("https://host/a.mp4#access_token=planted", "access_token"),
    ],
)
def test_urls_that_carry_a_secret(url: str, secret: str) -> None:
    assert secret_in(url) == secret
    shown = redact(f"cannot open {url}: no such file")
    assert not [word for word in ("planted", "pla/", "pla@", "5f3a", "Fw%3D", "AK%2F", "=AK") if word in shown]
    assert shown.endswith(" no such file")


@pytest.mark.parametrize(
    "text",
    [
        "https://host:8000/a@b.mp4?page=3&sort=token",
        "http://[::1]:9000/bucket/me@home:1.mp4",
        "s3://bucket/token=1/part?versionId=x",
        "s3://arn:aws:s3:us-east-1:123456789012:accesspoint/mine/a@2x.mp4",
        "abfs://container@account.dfs.core.windows.net/a.mp4",
        "videos/me:you@home.mp4",
        "eos_token=</s> max_tokens=5, design=7: 3 of 4",
        "/data/user:x/a@b?sig.mp4",
    ],
)
def test_what_is_no_secret(text: str) -> None:
    assert secret_in(text) is None
    assert redact(text) == text


def test_a_key_that_encrypts_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    """SSE-C, as docs/object-storage.md says how options for S3 are given."""
    given = {"s3_additional_kwargs": {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "pla/nted+customer0key"}}
    monkeypatch.setenv("FSSPEC_S3", json.dumps(given))
    assert redact("refused: pla/nted+customer0key, AES256") == f"refused: {HIDDEN}, AES256"


def test_the_keys_of_this_process(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the environment, and of the files where tools look for them."""
    files = {
        ".aws/credentials": "[default]\naws_access_key_id = AKIDPLANTED0123456\naws_secret_access_key = file/Secret+Key/1\n",
        ".aws/config": "[profile x]\naws_session_token=config-session-token\nregion = eu-central-1\n",
        ".aws/sso/cache/0.json": json.dumps({"accessToken": "sso-access-token", "region": "eu-central-1"}),
        ".netrc": "machine host login me password netrc-password\n",
        ".cache/huggingface/token": "hub-token-in-a-file\n",
        ".config/fsspec/s3.json": json.dumps({"s3": {"secret": "fsspec-file-secret"}}),
    }
    for path, text in files.items():
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).write_text(text, encoding="utf-8")
    env = {
        "AWS_SECRET_ACCESS_KEY": "env/Secret+Key/22",
        "AWS_SESSION_TOKEN": "env-session-token",
        "OPENAI_API_KEY": "sk-env-openai",
        "AZURE_STORAGE_CONNECTION_STRING": "DefaultEndpointsProtocol=https;AccountKey=azure-account-key==;Suffix=x",
        "FSSPEC_HTTP": json.dumps({"client_kwargs": {"headers": {"Authorization": "Bearer fsspec-bearer"}}}),
        "HTTPS_PROXY": "http://me:proxy-password@proxy:3128",
        "TOKENIZERS_PARALLELISM": "falsefalse",
        "GOOGLE_APPLICATION_CREDENTIALS": str(home / ".netrc"),
        "HF_TOKEN": "short",
    }
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    wanted = {"AKIDPLANTED0123456", "file/Secret+Key/1", "config-session-token", "sso-access-token", "netrc-password"}
    wanted |= {"hub-token-in-a-file", "fsspec-file-secret", "env/Secret+Key/22", "env-session-token", "sk-env-openai"}
    wanted |= {"azure-account-key==", "fsspec-bearer", "proxy-password"}
    assert wanted <= set(known_secrets())
    assert not {"eu-central-1", "falsefalse", "short", str(home / ".netrc")} & set(known_secrets())
    for value in wanted:
        assert redact(f"<{value}>") == f"<{HIDDEN}>"
    assert "22" not in redact("https://host/?x=env%2FSecret%2BKey%2F22")


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/s3, SignedHeaders=host, Signature=planted",
        "{'Authorization': 'Bearer planted-and-long', 'Host': 'x'}",
        "{'x-amz-security-token': b'planted'}",
        "token hf_plantedplantedplantedplanted1234",
        "key AKIAIOSFODNN7EXAMPLE is not known",
        "redirected to /x%3Fa%3D1%26sig%3Dplanted%26b",
    ],
)
def test_headers_and_shapes(text: str) -> None:
    shown = redact(text)
    assert "planted" not in shown
    assert "AKIA" not in shown


def test_errors_show_none_and_write_control_characters_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "planted-token")
    error = MediaError("cannot open \x1b[2J\0x\udcff: planted-token refused,\nsays https://a:pw@h/")
    for each in (error, pickle.loads(pickle.dumps(error))):  # noqa: S301  our own
        assert str(each) == f"cannot open \\x1b[2J\\x00x\\udcff: {HIDDEN} refused,\nsays https://{HIDDEN}@h/"
        assert "planted" not in repr(each)


def test_causes_that_show_one_are_left_out() -> None:
    plain, inner = OSError("gone"), RuntimeError("outer")
    inner.__cause__ = OSError(f"403 {SIGNED}")
    assert clean_cause(plain) is plain
    assert clean_cause(inner) is None


def test_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever prints: a log of any library, a trace."""
    monkeypatch.setenv("HF_TOKEN", "planted-token")
    inner = io.StringIO()
    stream = Redacting(inner)
    monkeypatch.setattr(sys, "stderr", stream)
    logging.lastResort.handle(logging.makeLogRecord({"msg": f"retry {SIGNED} with planted-token", "levelno": 40}))  # type: ignore[union-attr]
    try:
        raise StoreError("planted-token") from OSError("planted-token")
    except StoreError:
        traceback.print_exc()
    stream.writelines(["planted-token\n", "more\n"])
    shown = inner.getvalue()
    assert "planted" not in shown
    assert "5f3a" not in shown
    assert "Traceback" in shown
    assert shown.endswith(f"{HIDDEN}\nmore\n")
    assert not hasattr(stream, "buffer")
    assert stream.isatty() is False


def test_data_is_told_as_it_is_but_for_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "planted-token")
    inner = io.StringIO()
    print("a caption with https://x/?token=1 and planted-token", file=Redacting(inner, forms=False))
    assert inner.getvalue() == f"a caption with https://x/?token=1 and {HIDDEN}\n"
