"""`python -m verydeep` is `verydeep`."""

from verydeep.cli.main import main

if __name__ == "__main__":
    main()
