"""Exports of shop systems: each kind comes in whole, by recognition or by a preset's name."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from lookalike import settings
from lookalike.catalogue.curation import curate
from lookalike.catalogue.exports import Layout
from lookalike.catalogue.known_presets import PRESETS, preset_named
from lookalike.catalogue.listings import Catalogue
from lookalike.catalogue.reading import read_catalogue
from lookalike.catalogue.rules import CurationConfig
from lookalike.catalogue.snapshot import CuratedSnapshot
from lookalike.errors import CatalogueError, SettingsError
from lookalike.storage.directory import DirectoryStore
from tests.catalogue.conftest import photo


def export(folder: Path, text: str, name: str = "export.csv", **layout: str) -> Catalogue:
    (folder / name).write_text(text)
    return read_catalogue(str(folder / name), layout=Layout(**layout))


def test_shopify_fills_down_and_takes_variants_as_one_listing(tmp_path: Path) -> None:
    found = export(
        tmp_path,
        "Handle,Title,Vendor,Type,Option1 Name,Option1 Value,Variant Price,Image Src,Variant Image,Status\n"
        "coat,A coat,Acme,Coats / Jackets,Size,S,19.90,a.jpg,,active\n"
        "coat,,,,,M,21.90,b.jpg,b.jpg,\n"
        "coat,,,,,,,c.jpg,,\n"
        "boot,A boot,Acme,Boots,Title,Default Title,5,d.jpg,,draft\n",
    )
    coat, boot = found.listings
    assert (coat.listing_id, coat.images, coat.price) == ("coat", ("a.jpg", "b.jpg", "c.jpg"), 19.9)
    assert (coat.rows, coat.aspects) == (3, {"brand": ("Acme",), "size": ("S", "M")})
    assert (coat.category, boot.aspects) == ("Coats/Jackets", {"brand": ("Acme",)})
    assert (boot.further, found.preset, [*found.left_out]) == ({"availability": "draft"}, "shopify", [])


def test_woocommerce_puts_variations_into_their_product(tmp_path: Path) -> None:
    found = export(
        tmp_path,
        "ID,Type,SKU,Name,In stock?,Sale price,Regular price,Categories,Images,Parent,Attribute 1 name,"
        "Attribute 1 value(s)\n"
        '1,variable,tee,A tee,1,,"12,50","Clothing, Clothing > Tees, Sale","a.jpg, b.jpg",,Colour,"Red, blue"\n'
        "2,simple,,No SKU,1,9,10,Clothing > Tees,c.jpg,,Colour,Blue\n"
        '3,variation,tee-r,A tee - red,1,,"12,50",,r.jpg,tee,Colour,Red\n'
        "4,variation,,of two,1,9,,,d.jpg,id:2,Colour,green\n",
    )
    tee, other = found.listings
    assert (tee.listing_id, tee.images, tee.category) == ("tee", ("a.jpg", "b.jpg", "r.jpg"), "Clothing/Tees")
    assert (other.listing_id, other.images, other.price) == ("2", ("c.jpg", "d.jpg"), 9)
    assert (tee.price, tee.aspects, other.aspects) == (
        12.5,
        {"colour": ("Red", "blue")},
        {"colour": ("blue", "green")},
    )


def test_google_reads_text_and_both_kinds_of_xml(tmp_path: Path) -> None:
    text = (
        "id\ttitle\tlink\timage link\tadditional image link\tprice\tproduct type\tcolor\titem group id\n"
        "1\tA coat\thttps://shop.example/1\t1.jpg\t2.jpg,3.jpg\t1.299,00 EUR\tClothes > Coats, long\tRed/White\tg1\n"
    )
    atom = (
        '<feed xmlns="http://www.w3.org/2005/Atom" xmlns:g="http://base.google.com/ns/1.0"><title>Shop</title><entry>'
        '<g:id>1</g:id><title>A coat</title><link href="https://shop.example/1"/><g:image_link>1.jpg</g:image_link>'
        "<g:additional_image_link>2.jpg</g:additional_image_link><g:additional_image_link>3.jpg"
        "</g:additional_image_link><g:price>1299.00 EUR</g:price><g:shipping><g:price>5 EUR</g:price></g:shipping>"
        "<g:product_type>Clothes &gt; Coats, long</g:product_type><g:color>Red/White</g:color>"
        "<g:item_group_id>g1</g:item_group_id></entry></feed>"
    )
    for found in (export(tmp_path, text, "feed.txt"), export(tmp_path, atom, "feed.xml")):
        [coat] = found.listings
        assert (coat.images, coat.category) == (("1.jpg", "2.jpg", "3.jpg"), "Clothes/Coats, long")
        assert (coat.price, coat.product, coat.aspects) == (1299, "g1", {"color": ("Red", "White")})
        assert coat.further == {"currency": "EUR", "url": "https://shop.example/1"}


def test_magento_takes_the_deepest_category_that_enough_share_and_finds_its_media(tmp_path: Path) -> None:
    media = tmp_path / "pub" / "media" / "catalog" / "product" / "m" / "b"
    media.mkdir(parents=True)
    (media / "1.jpg").write_bytes(b"")
    rows = "".join(
        f'm{i},,Default,"Default Category/Women/Tops\\, short,Default Category/Sale/{i}/Deep/er",/m/b/1.jpg,,'
        f'"color=Red|Blue,size=M, L"\n'
        f"m{i},de,,,,,\n"
        for i in range(12)
    )
    header = "sku,store_view_code,attribute_set_code,categories,base_image,additional_images,additional_attributes\n"
    found = export(tmp_path, header + rows)
    assert {x.category for x in found.listings} == {"Women/Tops, short"}
    assert {x.images for x in found.listings} == {("pub/media/catalog/product/m/b/1.jpg",)}
    assert found.listings[0].aspects == {"color": ("Red", "Blue"), "size": ("M, L",)}
    assert found.notes == ("12 lines passed over: store_view_code is set, so the row repeats another",)
    media.rename(tmp_path / "elsewhere")
    named = export(tmp_path, header + rows, photos="elsewhere")
    assert {named.has_photo(*x.images) for x in named.listings} == {True}, "by its name alone"


def test_etsy_takes_the_tag_that_most_share(tmp_path: Path) -> None:
    rows = "".join(f'Ring {i},12.5,EUR,"tag_{i},rings,gold",R{i},1.jpg,2.jpg,,Silver\n' for i in range(10))
    rows += 'Mug,8,EUR,"mugs,rings",,9.jpg,,,\n'
    found = export(tmp_path, "TITLE,PRICE,CURRENCY_CODE,TAGS,SKU,IMAGE1,IMAGE2,IMAGE10,MATERIALS\n" + rows)
    assert Counter(x.category for x in found.listings) == {"rings": 11}
    assert (found.listings[0].listing_id, found.listings[10].listing_id) == ("R0", "Mug")
    assert (found.listings[0].images, found.listings[0].further) == (("1.jpg", "2.jpg"), {"currency": "EUR"})


def test_abo_reads_languages_and_looks_photos_up(tmp_path: Path) -> None:
    (tmp_path / "images" / "metadata").mkdir(parents=True)
    (tmp_path / "images" / "small" / "8c").mkdir(parents=True)
    (tmp_path / "images" / "small" / "8c" / "x.jpg").write_bytes(b"")
    table = "image_id,height,width,path\n010-m,10,10,8c/x.jpg\n020-m,10,10,8c/y.jpg\n"
    (tmp_path / "images" / "metadata" / "images.csv.gz").write_bytes(gzip.compress(table.encode()))
    row = {
        "item_id": "B1",
        "item_name": [
            {"language_tag": "de_DE", "value": "Stuhl"},
            {"language_tag": "en_GB", "value": "Chair"},
        ],
        "product_type": [{"value": "CHAIR"}],
        "main_image_id": "010-m",
        "other_image_id": ["020-m"],
        "color": [{"language_tag": "de_DE", "value": "Rot"}],
        "item_dimensions": {"height": {"value": 3}},
    }
    (tmp_path / "listings_0.json.gz").write_bytes(gzip.compress(json.dumps(row).encode() + b"\n"))
    [chair] = read_catalogue(str(tmp_path / "listings_0.json.gz")).listings
    assert (chair.listing_id, chair.title, chair.category) == ("B1", "Chair", "CHAIR")
    assert chair.images == ("images/small/8c/x.jpg", "images/small/8c/y.jpg")
    assert chair.aspects == {"color": ("Rot",)}
    (tmp_path / "images" / "metadata" / "images.csv.gz").unlink()
    with pytest.raises(
        CatalogueError, match=r"no table of photos beside the catalogue; looked for images.csv, images.csv.gz"
    ):
        read_catalogue(str(tmp_path / "listings_0.json.gz"))


def test_sop_takes_category_and_product_from_the_path(tmp_path: Path) -> None:
    text = (
        "image_id class_id super_class_id path\n1 7 1 bicycle_final/11_0.JPG\n2 7 1 bicycle_final/11_1.JPG\n"
    )
    found = export(tmp_path, text, "Ebay_train.txt")
    assert [(x.listing_id, x.category, x.product) for x in found.listings] == [
        ("1", "bicycle", "7"),
        ("2", "bicycle", "7"),
    ]


def test_a_shop_writes_a_preset_of_its_own_in_the_settings_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lookalike.toml").write_text(
        "[presets.ours]\n"
        'columns = {listing_id = ["nr"], price = ["cents"]}\n'
        'image_template = "pics/{nr}-{side}.jpg"\n'
        'category_columns = ["group", "kind"]\n'
        "category_join = true\n"
        'aspects = {color = ["farbe"]}\n'
        'aspect_split = ",;"\n'
        "price_unit = 0.01\n"
        'currency = "CHF"\n'
        "[presets.shopify]\n"
        'category_columns = ["Type"]\n'
        "[presets.bad]\n"
        'decimal = "x"\n'
        "[presets.worse]\n"
        'colums = ["x"]\n'
    )
    monkeypatch.chdir(tmp_path)
    text = "nr,side,group,kind,cents,farbe\n1,front,A/B,C > D,129900,red; Blue\n2,back,A/B,C > D,50,blue\n"
    one, two = export(tmp_path, text, preset="ours").listings
    assert (one.images, one.category, one.price) == (("pics/1-front.jpg",), "A-B/C-D", 1299)
    assert (one.further, two.price, two.aspects) == ({"currency": "CHF"}, 0.5, {"color": ("Blue",)})
    assert preset_named("shopify").category_columns == ("Type",)
    assert preset_named("shopify").image_columns == PRESETS["shopify"].image_columns
    for name, message in (
        ("bad", "decimal is 'x'; it is '.' or ','"),
        ("worse", r"lookalike\.toml.*unknown key of \[presets.worse\] 'colums'; did you mean columns"),
        ("shopfy", "unknown preset 'shopfy'; .*did you mean shopify"),
    ):
        with pytest.raises(SettingsError, match=message):
            preset_named(name)
    assert settings.names_in("presets") == ["bad", "ours", "shopify", "worse"]


def test_columns_of_the_command_line_change_a_preset(tmp_path: Path) -> None:
    (tmp_path / "export.csv").write_text("Handle,Image Src,Variant Price,Tags,Vendor\nx,1.jpg,3,Hats,Me\n")
    uri = str(tmp_path / "export.csv")
    with pytest.raises(CatalogueError, match=r"has no column 'category'; it has listing_id"):
        read_catalogue(uri)
    [hat] = read_catalogue(uri, columns={"category": "Tags", "seller": "Vendor"}).listings
    assert (hat.category, hat.seller) == ("Hats", "Me")
    with pytest.raises(CatalogueError, match="has no column 'Nix'"):
        read_catalogue(uri, columns={"category": "Nix"})
    with pytest.raises(
        CatalogueError, match=r"has no columns 'listing_id' and 'image' and 'category'; .* did you mean"
    ):
        read_catalogue(uri, layout=Layout(preset="none"))


CASES = {
    "plain.csv": ("", 90, 1),
    "gmc_local.tsv": ("google", 90, 3),
    "gmc.xml": ("google", 90, 1),
    "magento.csv": ("magento", 90, 2),
    "styles.csv": ("kaggle-styles", 90, 1),
    "multi_rows.csv": ("", 30, 3),
    "shopify_local.csv": ("shopify", 30, 3),
    "euro.csv": ("", 90, 1),
    "leadslash.csv": ("", 90, 1),
    "utf16.csv": ("", 90, 1),
    "plain.csv.gz": ("", 90, 1),
    "hive": ("", 90, 1),
    "split_Train.csv": ("", 90, 1),
    "small_gt.csv": ("", 90, 1),
}


@pytest.mark.parametrize("name", CASES)
def test_every_case_comes_in_whole(sample_cases: Path, name: str) -> None:
    preset, listings, images = CASES[name]
    found = read_catalogue(str(sample_cases / "catalogues" / name))
    assert (found.preset, len(found), {len(x.images) for x in found.listings}) == (preset, listings, {images})
    assert not found.left_out
    missing = {image for x in found.listings for image in x.images if not found.has_photo(image)}
    assert missing <= {"images/x.jpg"}, "magento.csv names one that is not there"
    categories = Counter(x.category.rpartition("/")[2].casefold() for x in found.listings)
    assert len(categories) == (9 if name == "small_gt.csv" else 3)
    prices = {(x.price, x.further.get("currency")) for x in found.listings}
    priced = {"gmc_local.tsv": (12.9, "EUR"), "euro.csv": (12.9, "EUR"), "magento.csv": (29.0, None)}
    unpriced = name in ("gmc.xml", "styles.csv", "small_gt.csv")
    assert prices == {(None, None) if unpriced else priced.get(name, (12.9, None))}


def test_small_siblings_of_a_case_merge_into_their_parent(sample_cases: Path, tmp_path: Path) -> None:
    store, uri = DirectoryStore(tmp_path / "store"), str(sample_cases / "catalogues" / "small_gt.csv")
    ref = curate(store, uri, CurationConfig(), cache_dir=tmp_path / "cache")
    snapshot = CuratedSnapshot.open(store, ref, tmp_path / "cache")
    kept = Counter(snapshot.listings["category"].to_pylist())
    assert kept == {"Clothing/Pants": 42, "Clothing/Tops": 48}


def test_a_preset_makes_another_snapshot_and_stands_in_its_manifest(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    for i in range(6):
        (tmp_path / f"{i}.jpg").write_bytes(photo(i))
    rows = "".join(
        f"{i},{i}.jpg,Shoes > {'Boot' if i % 2 else 'Clog'},9.90 EUR,https://x.example/{i}\n"
        for i in range(6)
    )
    (tmp_path / "feed.csv").write_text("id,image_link,product_type,price,link\n" + rows)
    small, cache = CurationConfig(min_category=2), tmp_path / "cache"
    uri = str(tmp_path / "feed.csv")
    ref = curate(store, uri, small, cache_dir=cache)
    snapshot = CuratedSnapshot.open(store, ref, cache)
    row = snapshot.listings.to_pylist()[1]
    assert (row["category"], row["price"], row["currency"]) == ("Shoes/Boot", 9.9, "EUR")
    assert (row["url"], row["image_url"]) == ("https://x.example/1", None)
    again = curate(store, uri, small, layout=Layout(preset="google"), cache_dir=cache)
    assert snapshot.artefact.manifest.config.get("layout") is None
    assert CuratedSnapshot.open(store, again, cache).artefact.manifest.config["layout"] == {
        "preset": "google"
    }


def test_shopify_in_its_newer_words_is_recognised(tmp_path: Path) -> None:
    found = export(
        tmp_path,
        "Title,URL handle,Vendor,Product category,Type,Status,Option1 name,Option1 value,Price,Product image URL,"
        "Variant image URL\n"
        "A coat,coat,Acme,Apparel & Accessories > Coats,,Active,Size,S,19.90,a.jpg,b.jpg\n"
        ",coat,,,,,,M,21.90,,c.jpg\n",
    )
    [coat] = found.listings
    assert (found.preset, coat.images, coat.price) == ("shopify", ("a.jpg", "b.jpg", "c.jpg"), 19.9)
    assert (coat.category, coat.aspects["size"]) == ("Apparel & Accessories/Coats", ("S", "M"))


def test_a_tag_that_everything_has_is_no_category(tmp_path: Path) -> None:
    rows = [f'T{i},5,EUR,"handmade,{("vase", "lamp")[i % 2]},gift{i}",{i}.jpg' for i in range(40)]
    found = export(tmp_path, "TITLE,PRICE,CURRENCY_CODE,TAGS,IMAGE1\n" + "\n".join(rows) + "\n")
    assert Counter(x.category for x in found.listings) == {"vase": 20, "lamp": 20}
