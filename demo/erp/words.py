"""Words of which names, addresses and products are made."""

from __future__ import annotations

import random
from typing import Any

FIRST = (
    "María",
    "Carmen",
    "José",
    "Antonio",
    "Lucía",
    "Javier",
    "Begoña",
    "Íñigo",
    "Concepción",
    "Álvaro",
    "Rocío",
    "Joaquín",
    "Núria",
    "Xoán",
)
LAST = (
    "García",
    "Fernández",
    "López",
    "Martínez",
    "Sánchez",
    "Pérez",
    "Gómez",
    "Ruiz",
    "Díaz",
    "Muñoz",
    "Álvarez",
    "Núñez",
    "Ibáñez",
    "Peña",
    "Echevarría",
)
TRADES = (
    "Bodegas",
    "Ferretería",
    "Panadería",
    "Transportes",
    "Construcciones",
    "Librería",
    "Óptica",
    "Muebles",
    "Conservas",
    "Talleres",
)
FORMS = ("S.L.", "S.A.", "e Hijos", "S. Coop.", "y Compañía")
STREETS = ("Calle Mayor", "Avenida de la Constitución", "Plaza del Ángel", "Rúa Nova", "Gran Vía")
CITIES = (
    ("Madrid", "28013"),
    ("A Coruña", "15001"),
    ("Cádiz", "11004"),
    ("Logroño", "26001"),
    ("València", "46002"),
    ("Donostia", "20003"),
)
GOODS = ("Aceite", "Tornillo", "Cuaderno", "Lámpara", "Silla", "Café", "Jabón", "Cable", "Azulejo")
QUALITIES = ("clásico", "extra", "ecológico", "reforzado", "de diseño", "económico", "señorial")
COLOURS = ("rojo", "añil", "verde", "marrón", "blanco")
NOTES = (
    None,
    "Entregar por la mañana.",
    "Llamar antes: «el timbre no funciona».",
    "Urgente;\n2.º piso, puerta \\B\\ — no dejar en portería",
    "",
)


def person(rng: random.Random) -> str:
    """Return a person's name, with both surnames."""
    return f"{rng.choice(FIRST)} {rng.choice(LAST)} {rng.choice(LAST)}"


def company(rng: random.Random) -> str:
    """Return a company's name."""
    return f"{rng.choice(TRADES)} {rng.choice(LAST)} {rng.choice(FORMS)}"


def address(rng: random.Random) -> dict[str, Any]:
    """Return an address as the ERP keeps it."""
    city, code = rng.choice(CITIES)
    return {
        "street": f"{rng.choice(STREETS)}, {rng.randint(1, 180)}",
        "city": city,
        "code": code,
        "floors": [rng.randint(0, 9) for _ in range(rng.randint(0, 2))],
    }


def product(rng: random.Random) -> str:
    """Return a product's name."""
    return f"{rng.choice(GOODS)} {rng.choice(QUALITIES)} {rng.randint(1, 500)}"


def attributes(rng: random.Random) -> dict[str, Any]:
    """Return what else is known of a product."""
    return {
        "colour": rng.choice(COLOURS),
        "weight_kg": round(rng.uniform(0.01, 40), 3),
        "tags": rng.sample(QUALITIES, rng.randint(0, 3)),
        "fragile": rng.random() < 0.2,
    }
