"""Words that somebody writes beside a photo, as the catalogue has them: "this in red", "for kids".

Enters: a short text, and what the listings state. Leaves: wishes, each of them values of aspects, or categories, that
the words name. There is no model of language: a word means what some listing states, in whatever language, and
nothing else. Case and accents do not count, and a plural or another usual ending is passed over. A table of synonyms,
a setting, leads from words that no listing has to those that some do. Words that are not understood are named.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, ClassVar

from lookalike.errors import QueryError, SettingsError

MAXIMUM_TEXT = 200
"""Characters that a search's text may have."""
_LONGEST = 6
"""Words of a value; longer ones are sentences, which nobody writes as a wish."""
_REMEMBERED = 256
"""Texts whose wishes are kept."""
_WISHES = 8
"""The most wishes of one text; what follows is not understood."""
_PLURALS = ("s", "es")
_ENDINGS = (*_PLURALS, "e", "en", "er", "em", "n")
_ROOT = 3
"""Letters that must be left of a word without its ending."""
COLOUR_ASPECTS = ("colour", "color", "farbe", "couleur", "colore", "kleur", "cor", "färg", "kolor")
# A run of letters, marks and digits; scripts without spaces are read sign by sign.
_UNSPACED = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0e7f"
_MARKS = r"\u0300-\u036f\u0900-\u0dff"
_WORD = re.compile(rf"[{_UNSPACED}]|(?:(?![{_UNSPACED}_])[\w{_MARKS}])+")

_SYNONYMS = {
    "gray": "grey", "grey": "gray", "kid": "children", "kids": "children", "child": "kids", "children": "kids",
    "ladies": "women", "women": "ladies", "womens": "women", "mens": "men", "crimson": "red", "scarlet": "red",
    "navy": "blue", "turquoise": "teal", "lilac": "purple", "violet": "purple", "cream": "beige", "multicolored":
    "multicolour", "stripes": "striped", "stripy": "striped", "dots": "dotted", "spotted": "dotted", "flowers":
    "floral", "flowery": "floral", "checks": "checked", "plaid": "checked",
}  # fmt: skip
_FILLERS = (
    "a", "an", "and", "as", "at", "but", "for", "from", "i", "in", "is", "it", "like", "made", "me", "my", "of", "on",
    "one", "or", "please", "same", "that", "the", "this", "to", "want", "with",
    "aber", "als", "auch", "auf", "aus", "das", "der", "die", "dies", "diese", "dieser", "dieses", "ein", "eine",
    "für", "im", "mit", "oder", "und", "von", "wie", "zu",
    "avec", "ce", "cette", "comme", "dans", "de", "des", "du", "en", "et", "le", "les", "mais", "pour", "un", "une",
    "con", "de", "el", "en", "es", "esta", "este", "esto", "la", "lo", "los", "las", "para", "pero", "por", "y",
    "che", "di", "il", "per", "questo", "questa", "een", "het", "met", "van", "voor",
)  # fmt: skip
_NEGATIONS = (
    "no",
    "not",
    "without",
    "nicht",
    "kein",
    "keine",
    "ohne",
    "pas",
    "sans",
    "sin",
    "non",
    "senza",
    "niet",
)


@dataclass(frozen=True, slots=True)
class TextConfig:
    """How the words beside a photo are understood, and how much they count."""

    table: ClassVar[str] = "text"

    weight: float = 1.0
    """How much the wishes of a text count against everything else in the score: 1 as much. 0: not at all."""
    synonyms: Mapping[str, str] = field(default_factory=lambda: _SYNONYMS, hash=False)
    """Word -> the word, or words, that are tried where no listing has it. Replaces the whole table."""
    fillers: tuple[str, ...] = _FILLERS
    """Words that mean nothing by themselves, and are not said to be misunderstood."""
    negations: tuple[str, ...] = _NEGATIONS
    """Words after which the next wish is one against: "not red"."""

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 100:
            raise SettingsError(f"text.weight must be 0 to 100, not {self.weight}")


@dataclass(frozen=True, slots=True)
class Wish:
    """One thing that a text asks for: a listing fulfils it by any of these values, or by its category."""

    words: str
    """As they were written."""
    aspects: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """(aspect, values)"""
    categories: tuple[str, ...] = ()
    """Leaf categories."""
    against: bool = False
    """Whether it asks for listings that have none of these."""


@dataclass(frozen=True, slots=True)
class Understood:
    """What a text was taken to mean."""

    text: str = ""
    wishes: tuple[Wish, ...] = ()
    unknown: tuple[str, ...] = ()
    """Words that nothing in the catalogue is called."""

    def __bool__(self) -> bool:
        return bool(self.wishes)

    @property
    def aspects(self) -> tuple[str, ...]:
        """The aspects that the wishes are about."""
        return tuple(dict.fromkeys(name for wish in self.wishes for name, _ in wish.aspects))

    @property
    def about_colour(self) -> bool:
        """Whether a wish names a colour: the photo's own is then not what is looked for."""
        return any(name.casefold() in COLOUR_ASPECTS for name in self.aspects)

    def to_json(self) -> dict[str, Any]:
        """As the search API has it."""
        return {
            "wishes": [
                {
                    "words": wish.words,
                    "aspects": {name: list(values) for name, values in wish.aspects},
                    "categories": list(wish.categories),
                    "against": wish.against,
                }
                for wish in self.wishes
            ],
            "unknown": list(self.unknown),
        }


NOTHING = Understood()


def check_text(text: str) -> None:
    """Raises `QueryError` for a text that is too long."""
    if len(text) > MAXIMUM_TEXT:
        raise QueryError(f"text: at most {MAXIMUM_TEXT} characters, not {len(text)}")


def words_of(text: str) -> list[str]:
    """The words of a text, as they compare: without case and accents."""
    return [plain for _, plain in _read(text)]


def _read(text: str) -> list[tuple[str, str]]:
    """Each word of a text as it is written, and as it compares."""
    written = _WORD.findall(unicodedata.normalize("NFC", text))
    return [(word, plain) for word in written if (plain := _folded(word))]


def _folded(word: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKD", word.casefold()) if not unicodedata.combining(c))


@dataclass(slots=True)
class _Meaning:
    aspects: dict[str, list[str]] = field(default_factory=dict)
    categories: list[str] = field(default_factory=list)


class Vocabulary:
    """Every value and category of an index by its words. It is made when a text is first asked about."""

    def __init__(
        self,
        values: Mapping[str, Mapping[str, int]],
        categories: Sequence[str],
        config: TextConfig | None = None,
    ) -> None:
        """`values` are those of each aspect that listings state, `categories` the leaves, as paths."""
        self._values, self._categories, self._config = values, categories, config or TextConfig()
        self.understand = lru_cache(_REMEMBERED)(self._understand)
        """The wishes of a text, in its order: at each place the longest phrase that the catalogue knows."""

    @cached_property
    def _meanings(self) -> Mapping[tuple[str, ...], _Meaning]:
        found: dict[tuple[str, ...], _Meaning] = {}
        for aspect, counts in self._values.items():
            for value in counts:
                if key := _key(value):
                    found.setdefault(key, _Meaning()).aspects.setdefault(aspect, []).append(value)
        for category in self._categories:
            for part in dict.fromkeys(category.split("/")):
                if key := _key(part):
                    found.setdefault(key, _Meaning()).categories.append(category)
        return found

    @cached_property
    def _singulars(self) -> Mapping[tuple[str, ...], tuple[str, ...]]:
        found: dict[tuple[str, ...], tuple[str, ...]] = {}
        for key in sorted(self._meanings):
            for singular in _without(key[-1], _PLURALS):
                found.setdefault((*key[:-1], singular), key)
        return found

    @cached_property
    def _fillers(self) -> frozenset[str]:
        """Those of the settings, and what aspects are called: "size 41", "colour: red"."""
        return frozenset(word for text in (*self._config.fillers, *self._values) for word in words_of(text))

    @cached_property
    def _negations(self) -> frozenset[str]:
        return frozenset(word for text in self._config.negations for word in words_of(text))

    @cached_property
    def _synonyms(self) -> Mapping[tuple[str, ...], tuple[str, ...]]:
        return {tuple(words_of(a)): tuple(words_of(b)) for a, b in self._config.synonyms.items()}

    def _understand(self, text: str) -> Understood:
        if not text.strip():
            return NOTHING
        read, wishes, unknown, against, at = _read(text), list[Wish](), list[str](), False, 0
        words = [plain for _, plain in read]
        while at < len(words):
            length, meaning = self._longest(words, at)
            word = words[at]
            if meaning is not None and len(wishes) < _WISHES:
                written = " ".join(word for word, _ in read[at : at + length])
                aspects = tuple((name, tuple(found)) for name, found in meaning.aspects.items())
                wishes.append(Wish(written, aspects, tuple(meaning.categories), against))
                against = False
            elif word in self._negations:
                against = True
            elif word not in self._fillers:
                unknown.append(read[at][0])
                against = False
            at += max(length, 1)
        return Understood(text, tuple(wishes), tuple(dict.fromkeys(unknown)))

    def _longest(self, words: Sequence[str], at: int) -> tuple[int, _Meaning | None]:
        for length in range(min(_LONGEST, len(words) - at), 0, -1):
            phrase = tuple(words[at : at + length])
            if length == 1 and (phrase[0] in self._fillers or phrase[0] in self._negations):
                continue
            for key in self._forms(phrase):
                if (meaning := self._meanings.get(key)) is not None:
                    return length, meaning
        return 0, None

    def _forms(self, phrase: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        """What a phrase may stand as in the catalogue, likeliest first: as it is, with another ending, a synonym."""
        for words in filter(None, (phrase, self._synonyms.get(phrase))):
            yield words
            if words in self._singulars:
                yield self._singulars[words]
            for root in _without(words[-1], _ENDINGS):
                yield (*words[:-1], root)


def _key(text: str) -> tuple[str, ...]:
    words = tuple(words_of(text))
    return words if len(words) <= _LONGEST else ()


def _without(word: str, endings: Sequence[str]) -> Iterator[str]:
    """What is left of a word without one of these endings."""
    if word.endswith("ies") and len(word) > _ROOT + 2:
        yield word[:-3] + "y"
    for ending in endings:
        if word.endswith(ending) and len(word) - len(ending) >= _ROOT and not word.endswith("ss"):
            yield word[: -len(ending)]
