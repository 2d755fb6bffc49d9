"""The data gate: is what is about to go live still the whole catalogue, or what a broken export left of it?

In come two index snapshots, the live one and the one that is to replace it; out goes a table that compares listings,
photos, categories, rows left out of the catalogue, and prices. All numbers stand in manifests and curation reports, so
no listing is read again; one that an older manifest lacks is not compared, and the table says so. Beyond a bound
(`DataGateSettings`) nothing is published unless a person accepts the numbers. Refusals and acceptances are audit
records: the newest says whether the last publication was refused, which the console shows and exports.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lookalike.catalogue.snapshot import REPORT
from lookalike.catalogue.tables import CUT_OFF
from lookalike.catalogue.tally import Tally
from lookalike.errors import CorruptObject, DataGateError, ObjectNotFound
from lookalike.publishing.unlearned import in_words, unlearned_categories
from lookalike.settings import DataGateSettings
from lookalike.storage import audit
from lookalike.storage.artefacts import Ref, fetch, read_manifest
from lookalike.storage.objects import ObjectStore

ACTION = "data-gate"
"""Of the audit records that the gate leaves."""
_REFUSED = "refused: "
_NAMED = 3
"""Vanished categories that a message names."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """What one index snapshot holds, and what its catalogue held. None: its manifests are older than the number."""

    index: Ref
    listings: int
    categories: Mapping[str, int]
    """Leaf category -> listings."""
    photos: int | None = None
    priced: int | None = None
    """Listings with a price."""
    rows: int | None = None
    """Of the catalogue."""
    left_out: int | None = None
    """Rows of the catalogue that became no listing."""
    cut_off: bool = False
    """Whether the catalogue's last line ends in the middle."""
    tally: Tally | None = None
    """What became of its rows, one by one."""


@dataclass(frozen=True, slots=True)
class GateRow:
    """One measure of both snapshots, as people read it. `passed` is None where it could not be compared."""

    measure: str
    live: str
    new: str
    bound: str
    passed: bool | None

    def __str__(self) -> str:
        return f"{self.measure} {self.live} -> {self.new} ({self.bound})"


@dataclass(frozen=True, slots=True)
class DataGateReport:
    """What was compared, and whether the new snapshot may be published without anybody's word for it."""

    new: Ref
    live: Ref | None
    rows: tuple[GateRow, ...] = ()
    why: str = ""
    """What became of the catalogue's rows: the main reason for leaving some out, with an example."""
    warning: str = ""
    """What a person should know and nothing is refused for: listings that the model was not trained on."""

    @property
    def breached(self) -> tuple[GateRow, ...]:
        return tuple(row for row in self.rows if row.passed is False)

    @property
    def passed(self) -> bool:
        return not self.breached

    def verdict(self) -> str:
        """One line for a person."""
        if self.live is None:
            return f"data gate: {_name(self.new)} is the first to be published"
        if self.breached:
            beyond = "; ".join(map(str, self.breached))
            against = f"{_name(self.new)} against the live {_name(self.live)}"
            return f"data gate: {against}: {beyond}{self.why and '. '}{self.why}"
        said = [f"{row.measure} {row.live} -> {row.new}" for row in self.rows if row.passed]
        lacking = [row.measure for row in self.rows if row.passed is None]
        not_said = f"; not compared, as an older manifest lacks it: {', '.join(lacking)}" if lacking else ""
        return f"data gate: {', '.join(said)}{not_said}"

    def numbers(self) -> dict[str, dict[str, str]]:
        """Every measure with both numbers and its bound, for the audit log."""
        return {row.measure: {"live": row.live, "new": row.new, "bound": row.bound} for row in self.rows}


def guard(
    store: ObjectStore,
    new: Ref,
    live: Ref | None,
    settings: DataGateSettings,
    *,
    by: str,
    accept: bool,
    cache_dir: Path,
    told: Callable[[DataGateReport], None],
) -> None:
    """Compare, tell, and put a refusal or an acceptance on record. Raises `DataGateError` unless passed or accepted."""
    release = Ref.parse(str(read_manifest(store, new).meta["release"]))
    unlearned = unlearned_categories(store, release, new, cache_dir)
    report = replace(compare(store, new, live, settings, cache_dir=cache_dir), warning=in_words(unlearned))
    told(report)
    if report.passed:
        return
    detail = {
        "index": str(new),
        "live": str(live),
        "beyond": [row.measure for row in report.breached],
        "numbers": report.numbers(),
    }
    outcome = f"accepted: {report.verdict()}" if accept else f"{_REFUSED}{report.verdict()}"
    audit.record(store, by=by, action=ACTION, detail=detail, outcome=outcome)
    if not accept:
        message = (
            f"{report.verdict()}. Nothing is published: mend the catalogue and run it again, or accept these numbers: "
            f"`lookalike publish --index {new.id} --accept`, or the console's button"
        )
        raise DataGateError(message)


def settle(store: ObjectStore, index: Ref, *, by: str) -> None:
    """Note that `index` is live, where the last thing on record is a refusal: it has been dealt with."""
    if refusal(store) is not None:
        audit.record(
            store, by=by, action=ACTION, detail={"index": str(index)}, outcome=f"done: {_name(index)} is live"
        )


def refusal(store: ObjectStore) -> audit.AuditRecord | None:
    """The record of the last publication, if the gate refused it and nothing has gone live since."""
    try:
        found = audit.newest(store, ACTION)
    except CorruptObject:  # somebody's hand; a damaged record must not stop publishing for ever
        return None
    return found if found is not None and found.outcome.startswith(_REFUSED) else None


def reason(refused: audit.AuditRecord) -> str:
    """What a refusal said."""
    return refused.outcome.removeprefix(_REFUSED)


def compare(
    store: ObjectStore, new: Ref, live: Ref | None, settings: DataGateSettings, *, cache_dir: Path
) -> DataGateReport:
    """Hold `new` against `live` (None: nothing is live). A live snapshot that cannot be read is a breach of its own."""
    if live is None:
        return DataGateReport(new, None)
    offered = read_inventory(store, new, cache_dir)
    try:
        before = read_inventory(store, live, cache_dir)
    except (ObjectNotFound, CorruptObject) as error:
        unread = GateRow("readable manifests", "no", "yes", f"nothing to compare with: {error}", passed=False)
        return DataGateReport(new, live, (unread,), _why(offered, None))
    slack = settings.slack
    rows = (
        fewer("listings", before.listings, offered.listings, settings.fewer_listings, slack),
        fewer("photos", before.photos, offered.photos, settings.fewer_photos, slack),
        _vanished(before, offered, settings.fewer_categories),
        _more_left_out(before, offered, settings.more_left_out, slack),
        _fewer_priced(before, offered, settings.fewer_prices, slack),
        *_cut_off(before, offered),
    )
    return DataGateReport(new, live, rows, _why(offered, before))


def read_inventory(store: ObjectStore, index: Ref, cache_dir: Path) -> Inventory:
    """Raises `ObjectNotFound` or `CorruptObject` where a manifest or the curation report cannot be read."""
    manifest = read_manifest(store, index)
    curated = Ref.parse(manifest.inputs["curated"])
    snapshot = fetch(store, curated, cache_dir, [REPORT])
    try:
        report = json.loads(snapshot.path(REPORT).read_bytes())
        left_out = report.get("left_out", {})
        # Where all splits are indexed, what was curated stands for what an older index does not count.
        curated_meta = snapshot.manifest.meta if manifest.config.get("splits") is None else {}
        return Inventory(
            index=index,
            listings=sum(manifest.meta["categories"].values()),
            categories=manifest.meta["categories"],
            photos=manifest.meta.get("photos", curated_meta.get("photos")),
            priced=manifest.meta.get("priced", curated_meta.get("priced")),
            rows=report.get("catalogue", {}).get("rows"),
            left_out=left_out.get("listings"),
            cut_off=CUT_OFF in left_out.get("by_reason", {}),
            tally=Tally.from_report(report) if "tally" in report else None,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptObject(REPORT, f"{_name(index)} or its curation report is damaged: {error!r}") from error


def fewer(measure: str, live: int | None, new: int | None, share: float, slack: int) -> GateRow:
    """Fewer by `share` of the live number or by `slack`, whichever is more, is within bounds."""
    if live is None or new is None:
        return _not_compared(measure, live, new)
    allowed = max(share * live, slack)
    return GateRow(measure, f"{live:,}", f"{new:,}", f"at most {int(allowed):,} fewer", live - new <= allowed)


def _vanished(live: Inventory, new: Inventory, share: float) -> GateRow:
    """One category may always go: a small shop has few."""
    allowed = max(share * len(live.categories), 1)
    gone = sorted(live.categories.keys() - new.categories.keys())
    named = ", ".join(gone[:_NAMED]) + (f" and {len(gone) - _NAMED:,} more" if len(gone) > _NAMED else "")
    said = f"at most {int(allowed):,} live ones may go" + (f"; gone: {named}" if gone else "")
    return GateRow(
        "categories", f"{len(live.categories):,}", f"{len(new.categories):,}", said, len(gone) <= allowed
    )


def _more_left_out(live: Inventory, new: Inventory, share: float, slack: int) -> GateRow:
    if live.left_out is None or not live.rows or new.left_out is None or not new.rows:
        return _not_compared("rows left out", live.left_out, new.left_out)
    expected, allowed = live.left_out / live.rows * new.rows, max(share * new.rows, slack)
    return GateRow(
        "rows left out",
        _of(live.left_out, live.rows),
        _of(new.left_out, new.rows),
        f"at most {int(expected + allowed):,}",
        new.left_out - expected <= allowed,
    )


def _fewer_priced(live: Inventory, new: Inventory, share: float, slack: int) -> GateRow:
    if live.priced is None or new.priced is None:
        return _not_compared("listings with a price", live.priced, new.priced)
    expected, allowed = live.priced / live.listings * new.listings, max(share * new.listings, slack)
    return GateRow(
        "listings with a price",
        _of(live.priced, live.listings),
        _of(new.priced, new.listings),
        f"at least {max(0, math.ceil(expected - allowed)):,}",
        expected - new.priced <= allowed,
    )


def _cut_off(live: Inventory, new: Inventory) -> tuple[GateRow, ...]:
    """A last line that ends in the middle says that the export was not finished, however much of it is there."""
    if not new.cut_off or live.cut_off:
        return ()
    where = ""
    if new.tally is not None and (last := new.tally.left_out.get(CUT_OFF)):
        where = f", {new.tally.unit} {last.line}: {last.detail}"
    return (GateRow("last line", "whole", "cut off", f"the export looks unfinished{where}", passed=False),)


def _not_compared(measure: str, live: int | None, new: int | None) -> GateRow:
    live_text, new_text = ("not known" if n is None else f"{n:,}" for n in (live, new))
    return GateRow(measure, live_text, new_text, "not compared", passed=None)


def _why(new: Inventory, live: Inventory | None) -> str:
    """What became of the catalogue's rows, and what the live one's had."""
    if not new.rows:
        return ""
    had = f", the live one's {live.rows:,}" if live is not None and live.rows else ""
    said = f"Its catalogue has {new.rows:,} rows{had}"
    said += f"; {new.left_out:,} were left out" if new.left_out else "; none was left out"
    if new.tally is None:
        return said
    for reason, count in list(new.tally.left_out.items())[:1]:
        said += f", most for: {reason} {count.rows:,} ({new.tally.unit} {count.line}: {count.detail})"
    if price := new.tally.unclear.get("price"):
        said += f"; price not understood: {price.rows:,} ({new.tally.unit} {price.line}: {price.detail})"
    return said


def _of(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,}"


def _name(ref: Ref) -> str:
    return f"{ref.kind}/{ref.id}"
