"""`python -m tunefarm_coordinator serve`."""

import sys


def main() -> None:
    try:
        from tunefarm_coordinator.main import run
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("tunefarm_coordinator"):
            raise
        sys.exit(f"error: {error.name} is missing: pip install 'tunefarm[coordinator]'")
    run()


if __name__ == "__main__":
    main()
