"""`python -m shardpipe`: the same as the command `shardpipe`.

Workers import this module again, as spawned processes do with their parent's main one: so it imports nothing itself.
"""


def main() -> None:
    """Run the command line and exit, at once: libraries that take themselves down with threads of theirs still running have ended
    a run that was done by SIGABRT.
    """
    import logging  # noqa: PLC0415
    import os  # noqa: PLC0415
    import sys  # noqa: PLC0415
    from contextlib import suppress  # noqa: PLC0415

    from shardpipe.cli.app import main as run_and_exit  # noqa: PLC0415

    try:
        run_and_exit()
    except SystemExit as done:
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # it was told where it mattered
                stream.flush()
        os._exit(done.code if isinstance(done.code, int) else 1)


if __name__ == "__main__":
    main()
