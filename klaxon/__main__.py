"""Makes `python -m klaxon` the command."""

from klaxon.cli import main

if __name__ == "__main__":
    main()
