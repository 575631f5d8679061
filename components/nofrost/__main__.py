"""``python -m nofrost``: the same as the command ``nofrost``."""

from nofrost.cli import main

main()
