"""``python -m nofrost``: the same as the command ``nofrost``."""

from nofrost.first_process import run_under_init


def main() -> None:
    """Run the command line, as the first process of a container in a child that it passes signals on to.

    That comes before anything that is slow to load: until then the kernel drops a SIGTERM.
    """
    run_under_init()
    from nofrost.cli import main as run

    run()


if __name__ == "__main__":
    main()
