"""Secrets: what must be in no log, error, row or report, and how it is told from all other text.

    values of this process    environment variables with such names (AWS_SECRET_ACCESS_KEY, HF_TOKEN, OPENAI_API_KEY, any *_TOKEN
                              or *_PASSWORD), and the files where tools look for them (~/.aws, ~/.netrc, the hub's token, fsspec's)
    forms, whosever they are  user:password@host, X-Amz-Signature= and the like in a query, Authorization headers, AKIA..., hf_...

`redact` takes both out of a text; `secret_in` says why a url may not be stored. Nothing is read before there is a text to look at.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote

HIDDEN = "***"
LEAST = 8
"""Characters of a value that counts: shorter ones are words such as `test` or `EMPTY`."""

LEAST_ID = 16
"""Of an access key's id, which small servers let people choose as a name."""

MAX_FILE_BYTES = 1 << 20
INSTEAD = "credentials belong into the environment (AWS_*, HF_TOKEN, FSSPEC_*) or the usual files (~/.aws), where each process finds them"

SECRET_WORDS = frozenset(
    {"SECRET", "TOKEN", "PASSWORD", "PASSWD", "PASSPHRASE", "CREDENTIAL", "CREDENTIALS", "SAS", "APIKEY", "KEY"}
)
NO_VALUE = frozenset({"FILE", "PATH", "DIR", "URL", "URI", "ENV", "NAME", "TYPE", "EXPIRATION", "TTL"})
"""How a variable ends that says where a secret is, or something about it."""

NAMES_IN_QUERY = (
    *("signature", "token", "secret", "password", "passwd", "apikey", "api_key", "api-key", "credential", "credentials"),
    *("accesskey", "access_key", "accesskeyid", "access_key_id", "googleaccessid", "key-pair-id", "sig", "hmac", "jwt", "pwd"),
    "authorization",
)  # fmt: skip
"""How the names of secret parameters end, in small letters."""

_NAME = rf"[A-Za-z0-9_.-]*?(?:{'|'.join(NAMES_IN_QUERY)})"
_VALUE = r"[^\s&#;,\"'<>|\\^`{}()\[\]]+"
_NO_PORT = r"(?!\d{1,5}(?:[/?#\s\"'<>,)]|$))"
_FORMS = (
    # a password may have `@` in it, or, of an AWS key, `/`; an ARN in a url of S3 has colons too
    (
        re.compile(
            rf"(\b[a-z][a-z0-9+.-]{{0,20}}://)(?!arn:)[^\s/?#:@\[\"'<>]*:{_NO_PORT}(?:[^\s\"'<>/?#]*|[^\s@\"'<>]*)@",
            re.IGNORECASE,
        ),
        rf"\1{HIDDEN}@",
    ),
    (re.compile(r"(\bhttps?://)[^\s/?#:@\"'<>]+@", re.IGNORECASE), rf"\1{HIDDEN}@"),
    (re.compile(rf"((?:[?&;#]|%3F|%26){_NAME}(?:=|%3D)){_VALUE}", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(rf"(\b(?:Credential|Signature)=){_VALUE}"), rf"\1{HIDDEN}"),
    (
        re.compile(
            r"(\b(?:(?:proxy-)?authorization|x-amz-security-token|x-api-key|api-key|(?:set-)?cookie)[\"']?\s*[:=]\s*b?[\"']?)"
            r"(?:(?:bearer|basic|token|aws4-hmac-sha256)\s+)?[^\s\"',;]+",
            re.IGNORECASE,
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"(\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{16,}", re.IGNORECASE), rf"\1{HIDDEN}"),
    (
        re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bhf_[A-Za-z0-9]{30,}|\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*"),
        HIDDEN,
    ),
)
_USER = _FORMS[0][0]
_BARE_USER = _FORMS[1][0]
_IN_FILE = re.compile(
    r"(?:secret|token|password|passwd|api_?key|access_?key|account_?key|customer_?key|authorization)[\w-]*[\"']?(?:\s*[=:]\s*|\s+)[\"']?"
    r"((?:bearer|basic)\s+)?([^\s\"',}]+)",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """`text` with `***` for every secret of this process, and for whatever has the form of one."""
    return hide_forms(hide(text, known_secrets()))


def hide(text: str, secrets: Iterable[str]) -> str:
    """`text` without these values."""
    for value in secrets:
        if value in text:
            text = text.replace(value, HIDDEN)
    return text


def hide_forms(text: str) -> str:
    """`text` without what has the form of a secret, whether this process has it or not."""
    for form, shown in _FORMS:
        text = form.sub(shown, text)
    return text


def secret_in(url: str) -> str | None:
    """What a url (or a chain of them) carries that must not be stored, in words; None for none, and for what is no url."""
    if "://" not in url:
        return None
    for link in url.split("::"):
        if _USER.search(link) or _BARE_USER.search(link):
            return "a password"
        for part in re.split("[?&;#]", link)[1:]:
            name, _, value = part.partition("=")
            if value and name.lower().endswith(NAMES_IN_QUERY):
                return name
    return None


def holds_one(text: str, secrets: Iterable[str]) -> bool:
    """Whether a text holds one of these secrets that no word or name could be: a long one of letters and digits."""
    return any(len(value) >= LEAST_ID and _is_mixed(value) and value in text for value in secrets)


def clean_cause(error: BaseException) -> BaseException | None:
    """`error`, to be raised from, unless a trace of it would show a secret."""
    each: BaseException | None = error
    while each is not None:
        if redact(str(each)) != str(each):
            return None
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
    return error


def known_secrets() -> tuple[str, ...]:
    """The secrets that this process was given, also as they stand in urls and in JSON; the longest first."""
    found = {value for value in (*_in_environment(), *_in_files()) if len(value) >= LEAST}
    found |= {quote(value, safe="") for value in found} | {json.dumps(value)[1:-1] for value in found}
    return tuple(sorted(found, key=lambda value: (-len(value), value)))


class Redacting:
    """A text stream that lets no secret through. forms: whether also what merely has the form of one is hidden: data is told as it is."""

    def __init__(self, inner: TextIO, *, forms: bool = True) -> None:
        self._inner = inner
        self._forms = forms
        self._secrets: tuple[str, ...] | None = None

    def write(self, text: str) -> int:
        """Write it; the number of characters of `text`."""
        if self._secrets is None:
            self._secrets = known_secrets()
        shown = hide(text, self._secrets)
        self._inner.write(hide_forms(shown) if self._forms else shown)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write all of them."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  whatever a stream has
        if name == "buffer":  # the way around
            raise AttributeError(name)
        return getattr(self._inner, name)


def _in_environment() -> Iterator[str]:
    for name, value in os.environ.items():
        words = name.upper().split("_")
        is_id = words[-3:] == ["ACCESS", "KEY", "ID"]
        if is_id or (words[-1] not in {*NO_VALUE, "ID"} and (SECRET_WORDS - {"KEY"} & {*words} or words[-1] == "KEY")):
            if len(value) >= (LEAST_ID if is_id else LEAST) and not _is_path(value):
                yield value.strip()
        elif name.upper().endswith("CONNECTION_STRING") or name.upper().startswith("FSSPEC_"):
            yield from _values_in(value)
        if "://" in value and (found := _USER.search(value)):
            yield found[0].rpartition("@")[0].partition("://")[2].partition(":")[2]


def _in_files() -> Iterator[str]:
    for path, is_whole in _files():
        try:
            stat = path.stat()
        except OSError:
            continue
        if stat.st_size <= MAX_FILE_BYTES:
            yield from _read(path, stat.st_mtime_ns, stat.st_size, is_whole=is_whole)


def _files() -> Iterator[tuple[Path, bool]]:
    """The files that may hold secrets, and whether all of a file is one."""
    env, home = os.environ, Path(os.environ.get("HOME") or "~").expanduser()
    yield Path(env.get("AWS_SHARED_CREDENTIALS_FILE") or home / ".aws" / "credentials").expanduser(), False
    yield Path(env.get("AWS_CONFIG_FILE") or home / ".aws" / "config").expanduser(), False
    yield Path(env.get("NETRC") or home / ".netrc").expanduser(), False
    for folder in (home / ".aws" / "sso" / "cache", home / ".aws" / "cli" / "cache"):
        yield from ((path, False) for path in folder.glob("*.json"))
    fsspec = Path(env.get("FSSPEC_CONFIG_DIR") or home / ".config" / "fsspec").expanduser()
    yield from ((path, False) for path in (*fsspec.glob("*.json"), *fsspec.glob("*.ini")))
    hub = Path(env.get("HF_HOME") or home / ".cache" / "huggingface").expanduser()
    yield hub / "token", True
    yield hub / "stored_tokens", False
    for name, value in env.items():
        if name.upper().endswith(("TOKEN_FILE", "TOKEN_PATH", "SECRET_FILE", "PASSWORD_FILE")):
            yield Path(value).expanduser(), True


@lru_cache(maxsize=64)
def _read(path: Path, mtime_ns: int, num_bytes: int, *, is_whole: bool) -> tuple[str, ...]:  # noqa: ARG001  what tells a change
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ()
    return (text.strip(),) if is_whole else tuple(_values_in(text))


def _values_in(text: str) -> Iterator[str]:
    """The values of fields that are called like secrets, in JSON, INI, netrc or `Name=value;`."""
    for found in _IN_FILE.finditer(text):
        value = found[2].split(";", 1)[0]
        is_id = re.search(r"key[_-]?id\b", found[0], re.IGNORECASE) is not None
        if len(value) >= (LEAST_ID if is_id else LEAST) and not _is_path(value):
            yield value


def _is_path(value: str) -> bool:
    return value.startswith(("/", "~", "./")) and Path(value).expanduser().exists()


def _is_mixed(value: str) -> bool:
    return any(char.isdigit() for char in value) and any(char.isalpha() for char in value)
