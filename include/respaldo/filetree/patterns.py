r"""Which entries of a tree are taken: one meaning for our own walk, for restic and for rsync.

A pattern is a name (``*.tmp``), or a path (``cache/*.bin``), and fits at any depth; with a slash
at its beginning (``/var/cache``) only from the source's root on. ``*``, ``?``, ``[abc]``,
``[a-z]`` and ``[!abc]`` stay within a name, ``**`` between slashes stands for any number of
folders, none included; ``\`` before a character takes it as it is. What fits a folder fits all
below it. `exclude` wins over `include`; `include` takes only the files that fit, and the folders
that lead to them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from include.respaldo.errors import ConfigurationError


class _Token(NamedTuple):
    """A piece of a name: ``*``, ``?``, ``[`` (a set: `text` are its members), or a character."""

    kind: str
    text: str = ""
    negated: bool = False


class _Part(NamedTuple):
    """What stands between two slashes; no tokens: ``**``."""

    tokens: tuple[_Token, ...]


class Pattern:
    """One pattern, read.

    :raises ConfigurationError: it cannot be read.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.is_anchored = text.startswith("/")
        names = text.removeprefix("/").split("/")
        if not text.strip("/") or {"", ".", ".."} & set(names) or "\0" in text or "\n" in text:
            raise _unreadable(text, "empty, or with empty parts, '.' or '..'")
        self.parts = tuple(_Part(() if n == "**" else tuple(_tokens(n, text))) for n in names)
        if all(not part.tokens for part in self.parts):
            raise _unreadable(text, "'**' alone fits everything")

    @cached_property
    def regex(self) -> str:
        """A regular expression of the path itself, without what is below it."""
        body = "" if self.is_anchored else "(?:.*/)?"
        last = len(self.parts) - 1
        for number, part in enumerate(self.parts):
            if part.tokens:
                body += "".join(map(_regex, part.tokens)) + ("/" if number < last else "")
            else:  # what fits one entry of a folder fits all below it
                body += "(?:[^/]+/)*" if number < last else "[^/]+"
        return body

    def glob(self, character: str, star: str = "*") -> list[str]:
        """Return the parts as restic reads them; ``**`` at the end is ``*`` there."""
        texts = [
            "".join(_glob(t, character, star) for t in part.tokens) or "**" for part in self.parts
        ]
        return [*texts[:-1], star if texts[-1] == "**" else texts[-1]]


class Patterns:
    """The patterns of one source; without any, everything is taken.

    Paths are relative to the source's root, as `os.fsdecode` gives them.

    :raises ConfigurationError: a pattern cannot be read.
    """

    def __init__(self, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> None:
        self.include = tuple(map(Pattern, include))
        self.exclude = tuple(map(Pattern, exclude))
        self._excluded = _any(p.regex for p in self.exclude)
        self._included = _any(p.regex for p in self.include)
        self._leading = _any(_leading(self.include))

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.include or self.exclude)

    def excludes(self, relative: str) -> bool:
        """Return whether an exclude pattern fits it, or a folder above it."""
        return self._excluded is not None and self._excluded.match(relative) is not None

    def fits(self, relative: str) -> bool:
        """Return whether an include pattern fits it, or a folder above it, or there is none."""
        return self._included is None or self._included.match(relative) is not None

    def takes(self, relative: str, is_folder: bool) -> bool:
        """Return whether an entry is taken; a folder also where it may lead to what is."""
        if not relative:
            return True
        if self.excludes(relative):
            return False
        if self.fits(relative):
            return True
        return is_folder and self._leading is not None and bool(self._leading.fullmatch(relative))

    def restic_excludes(self, root: Path) -> list[str]:
        """Return restic's ``--exclude`` patterns; the include patterns have none (`targets`)."""
        above = escaped_for_restic(str(root)).rstrip("/")
        found = []
        for pattern in self.exclude:
            parts = pattern.glob("?")
            middle = [] if pattern.is_anchored or parts[0] == "**" else ["**"]
            found.append("/".join([above, *middle, *parts]))
        return found

    def rsync_filters(self) -> list[str]:
        """Return rsync's filter rules, in their order, for a source that ends with a slash.

        Never leaves out what is taken. Where names are not ASCII it may send more: rsync's ``?``
        is one byte, ours one character.
        """
        rules = [f"- {text}" for p in self.exclude for text in _rsync(p, exact=True)]
        if self.include:
            texts = [text for p in self.include for text in _rsync(p, exact=False)]
            rules += [f"+ {text}/***" for text in texts] + [f"+ {text}" for text in texts]
            rules += [f"+ {text}/" for text in _rsync_leading(self.include)]
            rules.append("- *")
        return rules


def escaped_for_restic(path: str) -> str:
    """Return a restic pattern that fits this path only."""
    return re.sub(r"([\\*?\[])", r"\\\1", path)


# -- reading ------------------------------------------------------------------------------------


def _tokens(name: str, text: str) -> Iterable[_Token]:
    if "**" in name:
        raise _unreadable(text, "'**' stands alone between slashes")
    at = 0
    while at < len(name):
        character, at = name[at], at + 1
        if character in "*?":
            yield _Token(character)
        elif character == "\\":
            if at == len(name):
                raise _unreadable(text, "nothing follows the last '\\'")
            yield _Token("", name[at])
            at += 1
        elif character == "[":
            negated = name[at : at + 1] in {"!", "^"}
            begin = at + negated
            # a bracket that comes first is a member
            end = name.find("]", begin + 1)
            if end < 0 or "\\" in name[begin:end] or "[" in name[begin:end]:
                raise _unreadable(text, "a '[' without its ']', or '\\' or '[' within")
            members = name[begin:end]
            for low, high in re.findall(r"(.)-(.)", members, re.DOTALL):
                if low > high:
                    raise _unreadable(text, f"{low}-{high} is no range")
            yield _Token("[", members, negated)
            at = end + 1
        else:
            yield _Token("", character)


def _unreadable(text: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"the pattern {text!r} cannot be read: {why}",
        hint="a name ('*.tmp') or a path from the source's root ('/var/cache'), with *, ?, "
        "[abc], and ** between slashes",
    )


# -- our own ------------------------------------------------------------------------------------


def _any(expressions: Iterable[str]) -> re.Pattern[str] | None:
    joined = "|".join(f"(?:{e})" for e in expressions)
    return re.compile(rf"(?:{joined})(?=/|\Z)", re.DOTALL) if joined else None


def _regex(token: _Token) -> str:
    if token.kind == "*":
        return "[^/]*"
    if token.kind == "?":
        return "[^/]"
    if token.kind == "[":
        members = "".join(re.escape(m) if len(m) == 1 else _range(m) for m in _members(token))
        return f"[^/{members}]" if token.negated else f"[{members}]"
    return re.escape(token.text)


def _members(token: _Token) -> list[str]:
    """Return the characters and ranges (``a-z``) of a set."""
    return re.findall(r".-.|.", token.text, re.DOTALL)


def _range(text: str) -> str:
    return f"{re.escape(text[0])}-{re.escape(text[2])}"


def _leading(patterns: Iterable[Pattern]) -> Iterable[str]:
    """Yield expressions of the folders that may lead to what fits."""
    for pattern in patterns:
        if not pattern.is_anchored:
            yield ".*"
            continue
        before = ""
        for part in pattern.parts[:-1]:
            if not part.tokens:
                yield before + ".*"
                break
            before += "".join(map(_regex, part.tokens))
            yield before
            before += "/"


# -- others -------------------------------------------------------------------------------------


def _glob(token: _Token, character: str, star: str) -> str:
    r"""Return a token as Go's filepath.Match reads it, where ``\`` escapes within sets, too."""
    if token.kind == "*":
        return star
    if token.kind == "?":
        return character
    if token.kind == "[":
        members = "".join(
            m if len(m) == 3 else re.sub(r"([\]\-^\\])", r"\\\1", m) for m in _members(token)
        )
        return f"[{'^' if token.negated else ''}{members}]"
    return f"\\{token.text}" if token.text in "\\*?[" else token.text


def _rsync(pattern: Pattern, *, exact: bool) -> list[str]:
    """Return rsync's patterns that fit what this one does.

    :param exact: where it cannot be the same, rather less fits than more.
    """
    parts = pattern.parts
    alternatives = [""] if pattern.is_anchored else ["", "**"]
    if not pattern.is_anchored and (len(parts) == 1 or not parts[0].tokens):
        alternatives = [""]
    found = []
    for begin in alternatives:
        texts = [begin and "/**"]
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            if part.tokens:
                name = "".join(_rsync_token(t, exact) for t in part.tokens)
                texts = [f"{t}/{name}" for t in texts]
            elif last:
                texts = [f"{t}/*" for t in texts]
            else:
                texts = [*texts, *(f"{t}/**" for t in texts)]
        found += texts
    if not pattern.is_anchored and len(parts) == 1:
        return [text.removeprefix("/") for text in found]
    return found


def _rsync_token(token: _Token, exact: bool) -> str:
    r"""Return a token as rsync reads it: byte by byte, a ``\`` only beside wildcards."""
    if token.kind == "*":
        return "*"
    if token.kind == "?":
        return "[\x01-.0-\x7f]" if exact else "*"
    if token.kind == "[":
        if not (token.text.isascii() and (exact or not token.negated)):
            return "[^\x01-\udcff]" if exact else "*"
        members = "".join(
            m if len(m) == 3 else re.sub(r"([\]\-^!\\\[])", r"\\\1", m) for m in _members(token)
        )
        # a byte of a longer character is no member, and not what is no member either
        return f"[^{members}\udc80-\udcff]" if token.negated else f"[{members}]"
    return f"[\\{token.text}]" if token.text in "\\*?[" else token.text


def _rsync_leading(patterns: Iterable[Pattern]) -> list[str]:
    found = []
    for pattern in patterns:
        if not pattern.is_anchored:
            return ["*"]
        before = ""
        for part in pattern.parts[:-1]:
            if not part.tokens:
                found.append(f"{before}/**")
                break
            before += "/" + "".join(_rsync_token(t, exact=False) for t in part.tokens)
            found.append(before)
    return found
