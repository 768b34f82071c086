"""The invoices that users have uploaded, as PDF files."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from demo.erp.words import company

#: the one that somebody overwrites by mistake
LOST = "2026/11/factura-0042.pdf"
COUNT = 400
_SEED = 42


def invoices() -> Iterator[tuple[str, bytes]]:
    """Yield path and content of each, the same at every call."""
    rng = Random(_SEED)
    for number in range(1, COUNT + 1):
        path = f"2026/{11 - (number - 42) % 3:02}/factura-{number:04}.pdf"
        amount = rng.randrange(1_000, 900_000) / 100
        text = f"Factura {number:04}: {company(rng)}, {amount:.2f} EUR"
        yield path, pdf(text, rng.randbytes(6_000))


def pdf(text: str, picture: bytes) -> bytes:
    """Return a page with a line of text, and bytes that stand for a picture.

    Source: ISO 32000-1, 7.5 (file structure).
    """
    line = text.translate({ord(c): f"\\{c}" for c in "\\()"}).encode("latin-1", "replace")
    drawn = b"BT /F1 18 Tf 60 760 Td (" + line + b") Tj ET"
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R"
        b" /Resources << /Font << /F1 5 0 R >> >> >>",
        _stream(drawn),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        _stream(picture),
    )
    out = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    places = []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    for place in places:
        out += b"%010d 00000 n \n" % place
    out += b"trailer\n<< /Size %d /Root 1 0 R >>\n" % (len(objects) + 1)
    out += b"startxref\n%d\n%%%%EOF\n" % table
    return bytes(out)


def _stream(content: bytes) -> bytes:
    return b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content)
