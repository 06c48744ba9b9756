from __future__ import annotations

import csv
import io
import json
from typing import Any
from xml.etree import ElementTree

import openpyxl
import pytest

from async_endpoint.web.apify_api import formats
from async_endpoint.web.apify_api.errors import ApiError

ITEMS: list[Any] = [
    {"foo": "bar", "n": 1, "ok": True, "none": None},
    {"foo": 'a,"b"\nc', "nested": {"x": [1.5, "ä"]}, "html": "<b>&</b>"},
]


def render(items: list[Any], page_size: int = 1, **query: str) -> bytes:
    name, writer = formats.make_writer(query, "ID", "https://host/v2/datasets/ID")
    pages = [items[at : at + page_size] for at in range(0, len(items), page_size)]
    if isinstance(writer, formats.Table):
        for page in pages:
            writer.add_columns(page)
    body = b"".join(writer.page(page) for page in pages)
    return formats.opening(query, name) + body + b"".join(writer.end())


@pytest.mark.parametrize("page_size", [1, 2, 10])
def test_json_and_json_lines_give_the_items_back(page_size: int) -> None:
    assert json.loads(render(ITEMS, page_size)) == ITEMS
    lines = render(ITEMS, page_size, format="jsonl").decode().splitlines()
    assert [json.loads(line) for line in lines] == ITEMS


def test_csv_has_a_byte_order_mark_a_header_and_quotes() -> None:
    text = render(ITEMS, format="csv").decode("utf-8")
    assert text.startswith("\ufefffoo,n,ok,none,nested/x/0,nested/x/1,html\n")
    rows = list(csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline="")))
    assert rows[1] == ["bar", "1", "true", "", "", "", ""]
    assert rows[2] == ['a,"b"\nc', "", "", "", "1.5", "ä", "<b>&</b>"]


def test_csv_options() -> None:
    assert render([{"a": 1, "b": 2}], format="csv", bom="0", delimiter=";") == b"a;b\n1;2\n"
    assert render([{"a": 1, "b": 2}], format="csv", bom="false", skipHeaderRow="1") == b"1,2\n"
    assert render([{"a": 1}], format="json", bom="1") == b'\xef\xbb\xbf[{"a":1}]'


def test_a_table_keeps_at_most_2000_columns_with_names_of_200_characters() -> None:
    wide = {f"{number:04}" + "x" * 300: number for number in range(2500)}
    header = render([wide], format="csv", bom="0").decode().split("\n")[0].split(",")
    assert len(header) == 2000
    assert {len(name) for name in header} == {200}


def test_html_is_a_table_with_everything_escaped() -> None:
    text = render([{"<k>": "<b>&"}, {"<k>": 2}], format="html").decode()
    assert text == (
        "<table><tr><th>&lt;k&gt;</th></tr>\n<tr><td>&lt;b&gt;&amp;</td></tr>\n<tr><td>2</td></tr>\n</table>\n"
    )


def test_xlsx_keeps_types_and_never_makes_formulas() -> None:
    items = [{"text": "=1+1", "number": 2, "flag": False}, {"text": "https://x.test", "number": 2.5}]
    book = openpyxl.load_workbook(io.BytesIO(render(items, format="xlsx")))
    rows = list(book.worksheets[0].iter_rows())
    assert [[cell.value for cell in row] for row in rows] == [
        ["text", "number", "flag"],
        ["=1+1", 2, False],
        ["https://x.test", 2.5, None],
    ]
    assert rows[1][0].data_type == "s"
    assert rows[2][0].hyperlink is None


def test_xlsx_takes_what_excel_cannot_hold() -> None:
    items = [{"long": "x" * 40_000, "big": 2**60, "lone": "\ud800", "control": "\x01"}]
    book = openpyxl.load_workbook(io.BytesIO(render(items, format="xlsx")))
    long, big, lone, _ = [cell.value for cell in list(book.worksheets[0].iter_rows())[1]]
    assert (len(str(long)), big, lone) == (32_767, str(2**60), "?")


def test_xml_names_repeats_and_escapes() -> None:
    item = {"name": "Paul & <co>", "address": [{"city": "Rome"}, {"city": None}], "1 bad/name": True}
    text = render([item], format="xml").decode()
    assert text == (
        '<?xml version="1.0" encoding="UTF-8"?>\n<items>\n<item><name>Paul &amp; &lt;co&gt;</name>'
        "<address><city>Rome</city></address><address><city/></address><_1_bad_name>true</_1_bad_name></item>\n"
        "</items>\n"
    )
    assert ElementTree.fromstring(text)[0].findtext("name") == "Paul & <co>"


def test_xml_attributes_and_text() -> None:
    item = {
        "address": [{"@": {"type": 'ho"me'}, "street": "21st"}, {"@": {"type": "office"}, "#": "unknown"}]
    }
    [home, office] = ElementTree.fromstring(render([item], format="xml"))[0]
    assert (home.get("type"), home.findtext("street")) == ('ho"me', "21st")
    assert (office.get("type"), office.text) == ("office", "unknown")


def test_xml_drops_characters_that_xml_cannot_hold() -> None:
    root = ElementTree.fromstring(render([{"a": "\x00b\ud800\ufffe\u0007c", "": 1}], format="xml"))
    assert root[0].findtext("a") == "bc"


def test_xml_root_and_row_names() -> None:
    text = render([{"a": 1}], format="xml", xmlRoot="books", xmlRow="book").decode()
    assert "<books>\n<book><a>1</a></book>\n</books>" in text
    with pytest.raises(ApiError, match="xmlRow"):
        render([], format="xml", xmlRow="a b")


def test_rss_is_a_channel() -> None:
    [channel] = ElementTree.fromstring(render([{"title": "t"}], format="rss", feedTitle="Mine & yours"))
    assert channel.findtext("title") == "Mine & yours"
    assert channel.findtext("description") == 'Items in dataset with id "ID".'
    assert channel.findtext("link") == "https://host/v2/datasets/ID"
    assert channel.findtext("item/title") == "t"


@pytest.mark.parametrize(
    ("name", "empty"),
    [("json", b"[]"), ("jsonl", b""), ("csv", b"\xef\xbb\xbf"), ("html", b"<table><tr></tr>\n</table>\n")],
)
def test_no_items(name: str, empty: bytes) -> None:
    assert render([], format=name) == empty


@pytest.mark.parametrize("query", [{"format": "pdf"}, {"format": "csv", "delimiter": "ab"}])
def test_unknown_options_are_refused(query: dict[str, str]) -> None:
    with pytest.raises(ApiError) as caught:
        formats.make_writer(query, "ID", "")
    assert (caught.value.status, caught.value.type) == (400, "invalid-parameter")
