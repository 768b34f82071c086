"""Play the story on servers of its own: `make demo`, `make up`, `make demo-clean`.

Everything listens on 127.0.0.1 and lies in one folder. Played again, it goes on with the servers
and databases that are there: another order is deleted, and restored under another name.
"""

from __future__ import annotations

import argparse
import sys

import httpx
import psycopg

from demo import place
from demo.environment import Environment
from demo.screen import Screen, Stopped, table
from demo.story import play, set_the_stage
from include.respaldo.errors import RespaldoError


def main() -> int:
    """Return the exit code: 0, or 1 where something was not as promised."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument(
        "what",
        nargs="?",
        choices=["play", "up", "clean"],
        default="play",
        help="play: the story (default); up: the servers and writers alone; clean: stop and delete",
    )
    chosen = parser.parse_args()
    screen = Screen()
    try:
        return {"play": _play, "up": _up, "clean": _clean}[chosen.what](screen)
    except Stopped as error:
        screen.stopped(error)
    except RespaldoError as error:
        screen.stopped(Stopped(error.message, advice=error.hint))
    except (RuntimeError, OSError, TimeoutError, psycopg.Error, httpx.HTTPError) as error:
        notes = "\n".join(getattr(error, "__notes__", ()))
        screen.stopped(Stopped(f"{type(error).__name__}: {error}", log=notes))
    except KeyboardInterrupt:
        print("\ninterrupted; the servers go on. make demo-clean stops and deletes them")
        return 130
    return 1


def _play(screen: Screen) -> int:
    environment = _environment(screen)
    play(environment, screen)
    environment.stop_writers()
    screen.title(
        f"The story is over, after {screen.elapsed}. Everything it said was checked.",
        "Fin de la historia: todo lo dicho se ha comprobado.",
    )
    _look_around(environment, screen)
    screen.title(
        "The writers are stopped; servers and archiving go on. `make up` starts the writers again,",
        "`make demo` plays another story here, `make demo-clean` stops and deletes everything.",
    )
    return 0


def _up(screen: Screen) -> int:
    environment = _environment(screen)
    set_the_stage(environment, screen)
    screen.title(f"Everything runs, after {screen.elapsed}. A place to explore:")
    _look_around(environment, screen)
    screen.title("`make demo` plays the story here; `make demo-clean` stops and deletes all of it.")
    return 0


def _clean(screen: Screen) -> int:
    folder = place.folder()
    if not place.is_demo(folder):
        screen.title(f"nothing to clean: {folder} is not there")
        return 0
    Environment(folder).stop()
    place.remove(folder)
    screen.title(f"stopped everything that the demo had started, and deleted {folder}")
    return 0


def _environment(screen: Screen) -> Environment:
    folder = place.folder()
    there = place.is_demo(folder)
    place.make(folder)
    screen.title(
        "Respaldo: an order is deleted by mistake; its customer gets the minute before back.",
        "Respaldo: se borra un pedido por error; el cliente recupera el minuto anterior.",
        "",
        f"Everything is on 127.0.0.1 and in {folder}"
        + (" (going on with what is there)" if there else ""),
    )
    if folder != place.PREFERRED:
        screen.title(
            "PostgreSQL does not run as root, and its account may not enter the project's folder:",
            "hence that place instead of .respaldo/demo.",
        )
    return Environment(folder)


def _look_around(environment: Environment, screen: Screen) -> None:
    screen.title(*table(environment.addresses()))


if __name__ == "__main__":
    sys.exit(main())
