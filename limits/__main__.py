"""`python -m limits` is `limits`."""

from limits.cli import main

if __name__ == "__main__":
    main()
