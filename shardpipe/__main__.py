"""`python -m shardpipe`: the same as the command `shardpipe`.

Workers import this module again, as spawned processes do with their parent's main one: so it imports nothing itself.
"""


def main() -> None:
    """Run the command line and exit."""
    from shardpipe.cli.app import main as run_and_exit  # noqa: PLC0415

    run_and_exit()


if __name__ == "__main__":
    main()
