"""What a search is asked and what it answers: plain values, no HTTP, no arrays but the photo.

Enters: a `Query` (a square photo for the encoder, or the id of a listing whose stored code is the query) with its
`SearchRequest`. Leaves: an `Answer` with its hits. `RankingConfig` holds every knob of the ranking with its
default; a request may change the blend for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from lookalike.errors import QueryError, SettingsError, unknown
from lookalike.ranking.facets import Facets
from lookalike.ranking.filters import ANYTHING, Filters
from lookalike.ranking.similarity import UNKNOWN, Judged
from lookalike.ranking.words import NOTHING, TextConfig, Understood, check_text

if TYPE_CHECKING:
    from lookalike.imaging.photos import Box

MAXIMUM_BOXES = 3
"""The most boxes that are told of a photo."""
MAXIMUM_K = 200
"""The most hits that one request may ask for."""
MAXIMUM_REACH = 1000
"""The last place of an answer that a request may ask for: `offset` and `k` together."""
MAXIMUM_COLOUR = 16.0
"""The most that a bit about colours may count; beyond, nothing else is seen."""


@dataclass(frozen=True, slots=True)
class RankingConfig:
    """How hits are found and ordered. Each part can be switched off, so that its gain can be measured."""

    table: ClassVar[str] = "ranking"

    probability_mass: float = 0.95
    """Open the likeliest categories until their calibrated probabilities sum to this; 1 opens `maximum_categories`."""
    minimum_categories: int = 1
    """The fewest categories that routing opens, however sure it is of the first."""
    maximum_categories: int = 5
    """The most categories that routing opens; 0: no limit. A request that names categories is not limited."""
    unsure: float = 0.0
    """Where the likeliest category is less probable, every third hit comes from all that is not opened, by look alone
    (`beyond`). 0: never. Such a query scans the whole index. On 300 clothing photos (recipe `frozen`), 0.5 lowered
    precision@10 from 77.2 to 75.6 % and found something right among the first ten for 84.3 instead of 85.0 %."""
    unlearned: bool = True
    """Scan for every photo the categories, too, that the model was not trained on: no probability leads there. They are
    few until the next training, and what is new is what shoppers look for. `publish` says how many listings they
    have."""
    candidates: int = 300
    """Nearest listings that are ordered together, whatever k is. Where an answer needs more, those beyond follow,
    ordered among themselves: so an answer of ten is the beginning of one of two hundred."""
    asymmetric: bool = True
    """Score candidates by the query's real-valued activations against their bits, not by Hamming distance."""
    colour: float = 4.0
    """How many times a bit about the object's colours counts in the re-score, where a release has such bits
    (`emphasis`). On the sample 1, 4 and 8 put the photographed product first in 86, 86 and 84 %. Among the first
    eight other products 17, 20 and 21 % have the query's main colour (7 by chance, 20 at best within its
    category)."""
    blend: float = 0.75
    """Weight of appearance against aspect reward, as in the paper; 1 switches aspects off."""
    relative: bool = True
    """Measure appearance between the nearest and the farthest candidate; False: by the length of the code, as in the
    paper. Candidates differ in a tenth of their bits, so by the code's length aspects would outweigh appearance: on the
    sample catalogue that ranks worse than no aspects at all."""
    reward_points: Mapping[str, float] = field(
        default_factory=lambda: {"size": 2.0, "brand": 2.0, "price": 2.0}, hash=False
    )
    """Points that an aspect earns if the listing has it as predicted (`price`: as near as the query listing's)."""
    other_points: float = 1.0
    """Points of every aspect that `reward_points` does not name."""
    aspect_margin: float = 0.05
    """By how much a predicted aspect's accuracy on held-out listings must exceed that of its commonest value for it
    to earn points. Below it a prediction is a guess, and points for a guess are noise. See `trust`."""
    tick_share: float = 0.6
    """Share of a predicted aspect's ticks that must be true. A value is ticked from the probability on from which
    held-out predictions were right so often, by the lower end of the interval. So 0.6 shows more than 0.8 of true
    ticks. On the sample 84 % of material's and 96 % of pattern's were true (69 and 76 % without). None of colour and
    brand was shown (47 and 43 %). At 0.7 no pattern is ticked any more. 1 ticks nothing."""
    boxes: int = 3
    """Parts of a cluttered photo that are searched beside the whole (`finding`), all in one more forward pass; 0: none.
    Boxes are told all the same. A twentieth of the catalogue's own photos counts as cluttered."""
    box_margin: float = 0.10
    """Share of a drawn box's width and height that is added on each side, up to the photo's edges, before it is
    encoded. People draw tightly; gallery photos leave room. Of 18 boxes drawn by hand on query photos of the sample,
    4 found the photographed product first as drawn. With a margin of a tenth 11 did, with it and squared 9."""
    same_photo: float = 1 / 64
    """Share of its bits by which a code may differ from the query's and still be taken to be of the very photo. Such
    hits come first, nearest first, with score 1, whatever aspects say. Of the sample's photos saved again as JPEG of
    quality 90, 99 % differ in at most 64 of 4096 bits. For 96 % of them any other photo is farther. Codes of fewer
    than 64 bits must be equal."""
    least_likeness: float = 0.05
    """An answer whose likeness (`similarity`) is lower says that nothing looks like the query. So large a share of a
    catalogue's own photos would be told so. 0 says it never."""
    text: TextConfig = field(default_factory=TextConfig)
    """How words beside a photo are understood."""
    group: bool = True
    """Show a product, or a photo that several listings share, once."""

    def __post_init__(self) -> None:
        if not 0 < self.probability_mass <= 1:
            raise SettingsError(
                f"probability_mass must be above 0 and at most 1, not {self.probability_mass}"
            )
        if not 0 <= self.blend <= 1:
            raise SettingsError(f"blend must be between 0 and 1, not {self.blend}")
        if not 0 <= self.aspect_margin <= 1 or not 0 <= self.tick_share <= 1:
            raise SettingsError(
                f"aspect_margin and tick_share must be 0 to 1, not {self.aspect_margin} and {self.tick_share}"
            )
        if not 0 <= self.boxes <= MAXIMUM_BOXES:
            raise SettingsError(f"boxes must be 0 to {MAXIMUM_BOXES}, not {self.boxes}")
        if not 0 <= self.box_margin <= 1 or not 0 <= self.same_photo < 0.5:
            raise SettingsError(
                f"box_margin must be 0 to 1 and same_photo 0 to below 0.5, not {self.box_margin} and {self.same_photo}"
            )
        if not 0 <= self.least_likeness <= 1 or not 0 <= self.unsure <= 1:
            raise SettingsError(
                f"least_likeness and unsure must be 0 to 1, not {self.least_likeness} and {self.unsure}"
            )
        if not 0 <= self.colour <= MAXIMUM_COLOUR:
            raise SettingsError(f"colour must be between 0 and {MAXIMUM_COLOUR:g}, not {self.colour}")
        if self.minimum_categories < 1 or self.maximum_categories < 0 or self.candidates < 1:
            raise SettingsError(
                "minimum_categories and candidates must be at least 1, maximum_categories 0 or more"
            )

    def points(self, aspect: str) -> float:
        """Reward points of an aspect, whatever the case of its name."""
        return self.reward_points.get(aspect.casefold(), self.other_points)


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """What the searcher wants. Raises `QueryError` where a value is out of range."""

    k: int = 24
    offset: int = 0
    """Hits to pass over: those of the pages before. An answer does not depend on where it is cut."""
    categories: tuple[str, ...] = ()
    """Open exactly these leaf categories, or all leaves below a path (`expand_categories`); empty: the likeliest."""
    categories_not: tuple[str, ...] = ()
    """Open none of these leaf categories, nor leaves below a path."""
    everything: bool = False
    """Search all categories, and give every third place to what looks alike, whatever it is."""
    filters: Filters = ANYTHING
    blend: float | None = None
    """Weight of appearance, 0 to 1; None: the configured one."""
    colour: float | None = None
    """How many times a bit about colours counts, 0 to 16; None: as configured."""
    least_likeness: float | None = None
    """Below it nothing is said to look like the query, 0 to 1; None: as configured."""
    text: str = ""
    """Words beside the photo, "in red": listings that fulfil them are preferred (`words`)."""
    every_photo: bool = False
    """Of a listing as query: look for what is near to any of its photos, not to the main one alone."""
    exclude: frozenset[str] = frozenset()
    """Listings that are not to be answered."""
    exclude_groups: frozenset[str] = frozenset()
    """Groups none of whose listings is to be answered: products that were shown already."""
    sort: str | None = None
    """Order the pool, the nearest `RankingConfig.candidates` listings that pass, by price or another number instead of
    by score, with ``-`` before its name the highest first; of a group the first in that order stays, and listings
    without a number come last. Such an answer ends with the pool."""
    show: tuple[str, ...] = ()
    """Aspects that hits carry; ``*`` for all."""
    explain: bool = False
    """Say how the answer and each score came about."""
    facets: bool = False
    """Count what the listings of the pool state (`facets`)."""

    def __post_init__(self) -> None:
        if self.everything and self.categories:
            raise QueryError("everything: leave it out where categories are named, or leave them out")
        check_text(self.text)
        if not 1 <= self.k <= MAXIMUM_K:
            raise QueryError(f"k must be between 1 and {MAXIMUM_K}, not {self.k}")
        if self.offset < 0 or self.reach > MAXIMUM_REACH:
            raise QueryError(f"offset and k together may be at most {MAXIMUM_REACH}, not {self.reach}")
        if self.blend is not None and not 0 <= self.blend <= 1:
            raise QueryError(f"alpha must be between 0 and 1, not {self.blend:g}")
        if self.colour is not None and not 0 <= self.colour <= MAXIMUM_COLOUR:
            raise QueryError(f"colour must be between 0 and {MAXIMUM_COLOUR:g}, not {self.colour:g}")
        if self.least_likeness is not None and not 0 <= self.least_likeness <= 1:
            raise QueryError(f"least_likeness must be between 0 and 1, not {self.least_likeness:g}")

    @property
    def reach(self) -> int:
        """Hits that must be found: those passed over, too."""
        return self.offset + self.k


@dataclass(frozen=True, slots=True)
class Query:
    """One search: a photo, u8[side, side, 3] RGB of the release's preset, or a listing's id, or a photo of before."""

    request: SearchRequest = SearchRequest()
    photo: np.ndarray | None = None
    listing_id: str | None = None
    carried: bytes | None = None
    """What an answer to a photo carried (`Answer.carried`), of the same model release."""
    part: Callable[[Box], np.ndarray] | None = None
    """Gives a box of the photo as a square like `photo`, for a second look; None: there shall be none."""

    def __post_init__(self) -> None:
        if (self.photo is not None) + (self.listing_id is not None) + (self.carried is not None) != 1:
            raise QueryError("a search takes either a photo or a listing_id")


@dataclass(frozen=True, slots=True)
class Hit:
    """One listing of the answer."""

    listing_id: str
    photo_id: str
    """The photo that matched: of the listing's, the nearest to the query."""
    photo_ordinal: int
    """Which of the listing's photos that is: 0 is the main one."""
    category: str
    score: float
    """0 to 1: the blend of appearance and aspect reward. Comparable within one answer only, if `relative`."""
    distance: int
    """Hamming distance of the codes, in bits."""
    likeness: float | None
    """0 to 1, comparable between queries: the share of the catalogue's own photos whose nearest are at least as far.
    None where the index has no measure of it."""
    alike: str | None
    """The same in words (`similarity`)."""
    group: str
    beyond: bool
    """Whether it is here by its look alone, whatever its category (`beyond`)."""
    columns: Mapping[str, Any]
    """What the listing states in each of `columns.SHOWN`: title, price and so on; None where it states nothing."""
    matched_aspects: Mapping[str, str]
    """Aspects in which the listing has the query's value: of a photo only where that is predicted surely enough."""
    aspects: Mapping[str, tuple[str, ...]] | None = None
    """What it states of the aspects that were to be shown; None where there were none."""
    extra: Mapping[str, str | float] = field(default_factory=dict)
    """What it states in the shop's own columns."""
    explain: Mapping[str, float | bool] | None = None
    """The parts of its score, where they were asked for (`ordering`)."""

    @property
    def price(self) -> float | None:
        price: float | None = self.columns["price"]
        return price

    def to_json(self) -> dict[str, Any]:
        """The hit as one flat object, as the search API has it."""
        # Not `asdict`: it copies all that a hit holds, which took a sixth of a search besides encode and scan.
        body = dict(zip(_SAID_OF_A_HIT, _said_of(self), strict=True))
        for name in ("aspects", "explain"):
            if body[name] is None:
                del body[name]
        return {**body, **self.columns}


_SAID_OF_A_HIT = tuple(field.name for field in fields(Hit) if field.name != "columns")
_said_of = attrgetter(*_SAID_OF_A_HIT)


@dataclass(frozen=True, slots=True)
class CategoryGuess:
    """A leaf category with its calibrated probability, and whether its listings were scanned."""

    category: str
    probability: float
    opened: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """The hits of one query, best first, and how they came about."""

    hits: tuple[Hit, ...]
    categories: tuple[CategoryGuess, ...]
    """Those that were opened and the likeliest others, likeliest first."""
    aspects: Mapping[str, list[tuple[str, float]]]
    """Predicted (or, of a listing, stated) values with probability. Aspects that the release predicts no better than by
    guessing are left out."""
    release: str
    index: str
    scanned: int
    """Rows of the opened categories."""
    milliseconds: Mapping[str, float]
    """Wall time per stage; a stage that a batch shares counts in full for each of its queries."""
    missing_shards: tuple[int, ...] = ()
    """Shards of the index that no process could be asked about: their listings are not among the hits."""
    delta: str = ""
    """The last of the deltas that the index had; empty where it had none."""
    unlearned: int = 0
    """Listings among the rows scanned whose category the model was not trained on."""
    facets: Facets | None = None
    """What the pool has, where that was asked for."""
    understood: Understood = NOTHING
    """What the text beside the photo was taken to mean."""
    explain: Mapping[str, Any] | None = None
    """How the answer came about, where that was asked for."""
    carried: bytes = b""
    """What searches by the same photo again without it; empty where a listing was asked for."""
    judged: Judged = UNKNOWN
    """How alike query and answer are, and whether nothing is."""
    nearest: int | None = None
    """Hamming distance of the nearest listing that may be answered, wherever the answer is cut; None: there is none."""
    boxes: tuple[Box, ...] = ()
    """Where in the photo something of the catalogue's kind may be, the likeliest first."""
    cluttered: bool = False
    """Whether the frame has so much else in it that these are worth a search of their own."""
    box: Box | None = None
    """That of these which was searched with instead of the whole photo, because it found something nearer."""

    def unexplained(self) -> Answer:
        """Without how it came about."""
        return replace(self, hits=tuple(replace(hit, explain=None) for hit in self.hits), explain=None)


def expand_categories(wanted: Collection[str], known: Collection[str]) -> tuple[str, ...]:
    """The leaf categories that `wanted` names, directly or by a path above them. Raises `QueryError`.

    A leaf may have others below it: ``shoes`` is then that leaf alone, ``shoes/`` all of them.
    """
    found: dict[str, None] = {}
    for name in wanted:
        path = name.rstrip("/")
        below = [leaf for leaf in known if leaf == path or leaf.startswith(path + "/")]
        if not below:
            raise QueryError(unknown("category", name, known))
        found.update(dict.fromkeys([name] if name in below else below))
    return tuple(found)
