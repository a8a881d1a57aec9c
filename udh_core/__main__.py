"""`python -m udh_core` is `udh`."""

from .cli import main

if __name__ == "__main__":
    main()
