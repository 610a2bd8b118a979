"""`python -m shardpipe`: the same as the command `shardpipe`."""

from shardpipe.cli.app import main

if __name__ == "__main__":
    main()
