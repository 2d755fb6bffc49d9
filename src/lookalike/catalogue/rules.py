"""What curation keeps, what it takes for the same, and how it splits: one frozen configuration.

What a shop sets is declared by `knob`: it becomes an option of `lookalike curate` and `run`, a field in the forms of
the flows, and something that a re-index takes over from the live snapshot. The rest is set from Python alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from lookalike.catalogue.knobs import knob
from lookalike.errors import SettingsError
from lookalike.imaging.limits import PhotoLimits


@dataclass(frozen=True, slots=True)
class CurationConfig:
    """Every field changes the id of the snapshot."""

    table: ClassVar[str] = "curation"

    min_side: int = 64
    """Pixels of a photo's shorter side, at least; below, a network sees nothing but blur."""
    max_ratio: float = 5.0
    """Longer side over shorter, at most; banners and strips of film are longer, belts and ties hardly."""
    min_deviation: float = 3.0
    """Grey levels (0..255) by which a photo's colours deviate, at least; below, it is a blank placeholder."""
    find_copies: bool = True
    """Take re-posted copies (padded, framed, cropped by up to 4 %, brightened, with a badge) for one photo."""
    min_category: int = knob(
        10,
        "Smallest category",
        "Photos that a leaf category needs; smaller ones join their parent or are left out.",
        least=1,
        most=10_000,
    )
    """Distinct photos to learn from that a leaf category needs; smaller ones are merged into their parent or left
    out. With fewer than ten, one is left to judge by at best."""
    seller_cap: int = knob(0, "Seller cap", "Listings kept per seller and category; 0 keeps all.", least=0)
    """Listings of one seller in one category, at most; 0 takes all. Caps shops that would drown the others."""
    val_share: float = 0.1
    """Share of listings held out to steer training, where the catalogue gives no split."""
    test_share: float = 0.1
    """Share of listings held out to judge the release by, where the catalogue gives no split."""
    keep_products: bool = True
    """Keep listings of one product on one side of the split; near duplicates always stay together."""
    keep_sellers: bool = knob(
        True,
        "Keep sellers together",
        "Keep each seller's listings on one side of the splits, where that leaves two sides.",
        option="sellers_apart",
    )
    """Keep listings of one seller on one side: their photos share a background, and a network can cheat by it. Where
    sellers and products hold nearly all listings together, sellers tie nothing; the report says so."""
    leaks: Literal["photo", "product", "nothing"] = "photo"
    """Which training listings move to the split `leak` where the catalogue gives splits. `photo`: those that share a
    photo (or nearly) with a held-out one. `product`: those that share a photo or a product. `nothing`: none. Not by
    product unless asked, because a catalogue of photos and pictures of the same products splits them on purpose."""
    keep_side: int = 320
    """Photos whose shorter side has at most this many pixels are stored as they came."""
    shrunk_side: int = 256
    """Larger ones are stored as JPEG with a shorter side of this many pixels: what the paper's network is given."""
    shard_bytes: int = 64 << 20
    """Bytes of a pack of photos, at most: few enough to fetch again after a fault, many enough to be few."""
    limits: PhotoLimits = field(default_factory=PhotoLimits)
    """What is refused before decoding."""

    def __post_init__(self) -> None:
        """Raises `SettingsError` naming the first field that is out of its range."""
        for name, low, high in (
            ("min_side", 1, 10_000),
            ("max_ratio", 1, 1_000),
            ("min_deviation", 0, 100),
            ("min_category", 1, 1_000_000),
            ("seller_cap", 0, 1_000_000_000),
            ("val_share", 0, 0.9),
            ("test_share", 0, 0.9),
            ("keep_side", 16, 10_000),
            ("shrunk_side", 16, self.keep_side),
            ("shard_bytes", 1, 1 << 40),
        ):
            if not low <= getattr(self, name) <= high:
                raise SettingsError(f"{name} is {getattr(self, name)}; it must be from {low} to {high}")
        if self.val_share + self.test_share > 0.9:
            raise SettingsError("val_share and test_share leave less than a tenth to learn from")
        if self.leaks not in ("photo", "product", "nothing"):
            raise SettingsError(f"leaks is {self.leaks!r}; it must be photo, product or nothing")
