"""`python -m tgs_salt` is the command line, also from a checkout that nobody installed."""

from tgs_salt.cli import main

if __name__ == "__main__":
    main()
