"""`tailrace`, and `python -m tailrace`."""

import sys


def main() -> None:
    """Run the command line. Errors of ours become one message and an exit code."""
    from tailrace.cli import run  # noqa: PLC0415 - so that importing this costs nothing

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
