"""Makes `python -m snconvert` the command line."""

from snconvert.cli import main

if __name__ == "__main__":
    main()
