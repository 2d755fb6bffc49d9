"""The presets by name: those that Lookalike has, and those of the settings file.

docs/catalogues.md says what each system must export.

Sources: Shopify's product CSV (help.shopify.com/en/manual/products/import-export/using-csv), WooCommerce's product
CSV schema (github.com/woocommerce/woocommerce/wiki/Product-CSV-Import-Schema), Google's product data specification
(support.google.com/merchants/answer/7052112), Magento's product attributes (experienceleague.adobe.com, data
transfer), Etsy's listing download, Kaggle's Fashion Product Images, Amazon Berkeley Objects' README, Stanford Online
Products' info.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from lookalike.catalogue.presets import Preset
from lookalike.errors import SettingsError, unknown
from lookalike.layers import merged
from lookalike.settings import named_table, names_in

PRESETS: Mapping[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            name="shopify",
            title="Shopify product export",
            recognised_by=("Handle|URL handle", "Image Src|Product image URL", "Variant Price|Price"),
            columns={
                "listing_id": ("Handle", "URL handle"),
                "title": ("Title",),
                "price": ("Variant Price", "Price"),
                "availability": ("Status",),
            },
            aspects={"brand": ("Vendor",)},
            image_columns=("Image Src", "Product image URL", "Variant Image", "Variant image URL"),
            photo_folders=("images", "photos"),
            category_columns=(
                "Product Category",
                "Standardized Product Type",
                "Standard Product Type",
                "Type",
                "Custom Product Type",
            ),
            attribute_names=("Option1 Name", "Option2 Name", "Option3 Name"),
            attribute_values=("Option1 Value", "Option2 Value", "Option3 Value"),
        ),
        Preset(
            name="woocommerce",
            title="WooCommerce product export",
            recognised_by=("SKU", "Name", "Categories", "Images", "Regular price"),
            columns={
                "listing_id": ("Parent", "SKU", "ID"),
                "title": ("Name",),
                "price": ("Sale price", "Regular price"),
                "availability": ("In stock?",),
            },
            id_prefix="id:",
            image_columns=("Images",),
            image_split=",",
            photo_folders=("wp-content/uploads", "uploads", "images", "photos"),
            category_columns=("Categories",),
            category_split=",",
            category_separator=">",
            category_escape="\\",
            aspect_split=",",
            attribute_names=("Attribute * name",),
            attribute_values=("Attribute * value(s)",),
        ),
        Preset(
            name="google",
            title="Google Merchant feed",
            recognised_by=("id", "image_link"),
            columns={
                "listing_id": ("id",),
                "title": ("title",),
                "price": ("price",),
                "product": ("item_group_id",),
                "url": ("link",),
                "availability": ("availability",),
                "seller": ("external_seller_id",),
            },
            image_columns=("image_link", "additional_image_link"),
            image_split=",",
            photo_folders=("images", "photos"),
            category_columns=("product_type", "google_product_category"),
            category_separator=">",
            aspects={
                "brand": ("brand",),
                "color": ("color",),
                "gender": ("gender",),
                "material": ("material",),
                "pattern": ("pattern",),
                "size": ("size",),
            },
            aspect_split="/",
        ),
        Preset(
            name="magento",
            title="Magento 2 (Adobe Commerce) product export",
            recognised_by=("sku", "attribute_set_code", "base_image", "categories"),
            columns={
                "listing_id": ("sku",),
                "title": ("name",),
                "price": ("special_price", "price"),
                "availability": ("is_in_stock",),
            },
            image_columns=("base_image", "additional_images"),
            image_split=",",
            photo_folders=(
                "pub/media/catalog/product",
                "media/catalog/product",
                "catalog/product",
                "images",
                "photos",
            ),
            category_columns=("categories",),
            category_split=",",
            category_separator="/",
            category_escape="\\",
            category_roots=("Default Category",),
            attribute_column="additional_attributes",
            skip={"store_view_code": ("*",)},
        ),
        Preset(
            name="etsy",
            title="Etsy listing download",
            recognised_by=("TITLE", "CURRENCY_CODE", "TAGS", "IMAGE1"),
            columns={
                "listing_id": ("LISTING_ID", "SKU", "TITLE"),
                "title": ("TITLE",),
                "price": ("PRICE",),
                "currency": ("CURRENCY_CODE",),
            },
            image_columns=("IMAGE*",),
            photo_folders=("images", "photos"),
            category_columns=("CATEGORY", "TAGS"),
            category_split=",",
            aspects={"material": ("MATERIALS",)},
            aspect_split=",",
            attribute_names=("VARIATION * NAME",),
            attribute_values=("VARIATION * VALUES",),
        ),
        Preset(
            name="kaggle-styles",
            title="Kaggle Fashion Product Images (styles.csv)",
            recognised_by=("id", "masterCategory", "subCategory", "articleType", "productDisplayName"),
            columns={"listing_id": ("id",), "title": ("productDisplayName",)},
            image_template="images/{id}.jpg",
            category_columns=("masterCategory", "subCategory", "articleType"),
            category_join=True,
            aspects={
                "gender": ("gender",),
                "color": ("baseColour",),
                "season": ("season",),
                "usage": ("usage",),
            },
            overflow=True,
        ),
        Preset(
            name="abo",
            title="Amazon Berkeley Objects (listings_*.json.gz)",
            recognised_by=("item_id", "main_image_id", "product_type"),
            columns={
                "listing_id": ("item_id",),
                "title": ("item_name",),
                "product": ("model_name",),
                "seller": ("domain_name",),
            },
            image_columns=("main_image_id", "other_image_id"),
            image_table="images.csv",
            image_table_columns=("image_id", "path"),
            photo_folders=("images/small", "images/original", "small", "original", "images"),
            category_columns=("product_type",),
            aspects={
                "brand": ("brand",),
                "color": ("color",),
                "material": ("material",),
                "style": ("style",),
                "pattern": ("pattern",),
            },
        ),
        Preset(
            name="sop",
            title="Stanford Online Products (Ebay_train.txt, Ebay_test.txt)",
            recognised_by=("image_id", "class_id", "super_class_id", "path"),
            columns={"listing_id": ("image_id",), "product": ("class_id",)},
            image_columns=("path",),
            category_columns=("path",),
            category_pattern=r"^(.+?)(?:_final)?/",
        ),
    )
}


def preset_names() -> list[str]:
    """Ours, and those of the settings file."""
    return list(dict.fromkeys([*PRESETS, *names_in("presets")]))


def preset_named(name: str) -> Preset:
    """The preset, with what ``[presets.NAME]`` of the settings file changes in it.

    A table of a new name may say with `base` which preset it starts from; else it starts from nothing. Raises
    `SettingsError` where there is no preset of that name, or where its table is wrong.
    """
    table = named_table("presets", name)
    if table is None:
        if name not in PRESETS:
            raise SettingsError(unknown("preset", name, [*preset_names(), "none"]))
        return PRESETS[name]
    said = dict(table.said)
    base = said.pop("base", name if name in PRESETS else "")
    if base and base not in PRESETS:
        raise SettingsError(
            f"{table.where('base')}: [presets.{name}]: {unknown('preset', str(base), PRESETS)}"
        )
    if "name" in said:
        raise SettingsError(f"{table.where('name')}: [presets.{name}]: the table's name is the preset's")
    start = PRESETS[base] if base else Preset()
    return merged(replace(start, name=name, recognised_by=()), said, table)
