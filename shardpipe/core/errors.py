"""Every error that shardpipe raises on purpose.

    ShardpipeError
    ├── ConfigError        the config, a rule or an existing root is at fault: nothing ran      exit 2
    │   └── WeightsError   a file of weights is not there, cannot be had, or is not what it must be
    ├── StoreError         an object could not be read or written
    │   └── IntegrityError its bytes are not those that were committed
    ├── IncompleteError    a Dataset is not finished, and the caller needs all of it
    ├── MediaError         a video or clip cannot be read, cut or decoded: becomes an error row
    ├── StageError         a stage broke its contract (too few results, a wrong type)
    ├── UnitError          a unit failed on every try, or no worker can be set up               exit 1
    └── PassFailed         a pass ended with more failures than `max_failed`                    exit 1

A message says what, where (url, key, config path), and what to do. What others put into it (names of files, what a server said) is
shown without secrets, and with control characters written out.
"""

import errno

from shardpipe.core.secrets import redact

MACHINE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EROFS})
"""What the operating system refuses for want of disk, files or memory: no fault of the video or clip at hand."""


MAX_IN_ROW = 2000
"""Characters of an error that a row holds: a name or a server's page may be as long as it likes."""


def told(text: str) -> str:
    """`text` as it may be shown and stored: without secrets; control characters, of a terminal for example, written out."""
    return "".join(char if char.isprintable() or char in "\n\t" else repr(char)[1:-1] for char in redact(text))


def for_row(text: str) -> str:
    """`text` as a row holds it: as it may be shown, and not without end."""
    shown = told(text)
    return shown if len(shown) <= MAX_IN_ROW else f"{shown[:MAX_IN_ROW]} ... ({len(shown):,} characters)"


class ShardpipeError(Exception):
    """Base of all errors a user may see as one line."""

    def __str__(self) -> str:
        return told(super().__str__())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


class ConfigError(ShardpipeError):
    """What the user asked for cannot be run; found before anything ran."""


class WeightsError(ConfigError):
    """A file of weights is not there, cannot be had, or is not what it must be."""


class StoreError(ShardpipeError):
    """An object could not be read or written."""


class IntegrityError(StoreError):
    """An object's bytes are not those that its rows or record name."""


class IncompleteError(ShardpipeError):
    """A Dataset is not finished, and the caller needs all of it."""


class MediaError(ShardpipeError):
    """A video or clip cannot be read, cut or decoded."""


class StageError(ShardpipeError):
    """A stage broke its contract."""


class UnitError(ShardpipeError):
    """A unit failed on every try, or no worker can be set up to do any."""


class PassFailed(ShardpipeError):  # noqa: N818  the glossary's word
    """A pass ended with more failures than it allows."""
