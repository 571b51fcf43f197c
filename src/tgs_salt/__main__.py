"""Run the command line as `python -m tgs_salt`; works from a checkout that is not installed."""

from tgs_salt.cli import main

if __name__ == "__main__":
    main()
