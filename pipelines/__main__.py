"""The command line `python -m pipelines COMMAND ...`."""

from nofrost.cli import main
from pipelines.cli import pipelines

if __name__ == "__main__":
    main(pipelines)
