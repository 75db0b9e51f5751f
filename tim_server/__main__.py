"""`tim-server` and `python -m tim_server`."""


def main() -> None:
    """Run the command line."""
    from tim_server.cli.main import run

    run()


if __name__ == "__main__":
    main()
