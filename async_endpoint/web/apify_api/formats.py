"""Dataset items as JSON, JSON lines, CSV, HTML, XLSX, XML and RSS.

A writer turns pages of items into bytes piece by piece, so that a response is never held whole. A table needs
its columns before its first row: its writer asks for a first pass over the items, `add_columns`, which the
others do not need.
"""

from __future__ import annotations

import csv
import html
import io
import json
import tempfile
from typing import TYPE_CHECKING, Any, ClassVar

import xlsxwriter  # type: ignore[import-untyped]

from .errors import ApiError
from .items import flat_cells, parse_bool
from .markup import RssWriter, XmlWriter, check_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

BOM = "\ufeff".encode()
MAX_COLUMNS = 2000
MAX_COLUMN_NAME = 200
MAX_XLSX_ROWS = 1_048_576
MAX_XLSX_CHARS = 32_767


class JsonWriter:
    """One JSON array."""

    content_type: ClassVar[str] = "application/json; charset=utf-8"
    two_passes: ClassVar[bool] = False

    def __init__(self) -> None:
        self._separator = b"["

    def page(self, items: Iterable[Any]) -> bytes:
        """The next items."""
        parts: list[bytes] = []
        for item in items:
            parts += (self._separator, to_json(item))
            self._separator = b",\n"
        return b"".join(parts)

    def end(self) -> Iterator[bytes]:
        """What closes the document."""
        yield b"[]" if self._separator == b"[" else b"]"


class JsonLinesWriter:
    """One JSON text a line."""

    content_type: ClassVar[str] = "application/jsonl; charset=utf-8"
    two_passes: ClassVar[bool] = False

    def page(self, items: Iterable[Any]) -> bytes:
        """The next items."""
        return b"".join(to_json(item) + b"\n" for item in items)

    def end(self) -> Iterator[bytes]:
        """Nothing closes the document."""
        yield b""


class Table:
    """The columns of a table, collected in a first pass: nested fields become `address/0/street`."""

    two_passes: ClassVar[bool] = True

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def add_columns(self, items: Iterable[Any]) -> None:
        """Learn the columns of these items; they keep the order in which they came first."""
        for item in items:
            for path in flat_cells(item):
                if path not in self._names and len(self._names) < MAX_COLUMNS:
                    self._names[path] = path[:MAX_COLUMN_NAME]

    @property
    def columns(self) -> Sequence[str]:
        """The column names."""
        return list(self._names.values())

    def rows(self, items: Iterable[Any]) -> Iterator[list[Any]]:
        """One list of cells an item; None where it has no such field."""
        for item in items:
            cells = flat_cells(item)
            yield [cells.get(path) for path in self._names]


class CsvWriter(Table):
    """Comma-separated values (quoted as RFC 4180 says, lines end in LF)."""

    content_type: ClassVar[str] = "text/csv; charset=utf-8"

    def __init__(self, delimiter: str = ",", *, header: bool = True) -> None:
        super().__init__()
        self._delimiter = delimiter
        self._header = header

    def page(self, items: Iterable[Any]) -> bytes:
        """The next rows, before the first of them the header."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, delimiter=self._delimiter, lineterminator="\n")
        if self._header and self.columns:
            writer.writerow(self.columns)
        self._header = False
        writer.writerows([cell_text(cell) for cell in row] for row in self.rows(items))
        return encode(buffer.getvalue())

    def end(self) -> Iterator[bytes]:
        """The header of a table without rows."""
        yield self.page(())


class HtmlWriter(Table):
    """One HTML table."""

    content_type: ClassVar[str] = "text/html; charset=utf-8"

    def __init__(self) -> None:
        super().__init__()
        self._open = False

    def page(self, items: Iterable[Any]) -> bytes:
        """The next rows, before the first of them the header."""
        text = "".join(_html_row(row, "td") for row in self.rows(items))
        if not self._open:
            text = f"<table>{_html_row(self.columns, 'th')}{text}"
        self._open = True
        return encode(text)

    def end(self) -> Iterator[bytes]:
        """What closes the table."""
        yield self.page(()) + b"</table>\n"


def _html_row(cells: Iterable[Any], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell_text(cell))}</{tag}>" for cell in cells) + "</tr>\n"


class SheetWriter(Table):
    """One Excel worksheet. Rows go to temporary files as they come; `end` gives the bytes of the whole."""

    content_type: ClassVar[str] = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

    def __init__(self) -> None:
        super().__init__()
        self._book: xlsxwriter.Workbook | None = None
        self._sheet: Any = None
        self._next_row = 0

    def _open(self) -> xlsxwriter.Workbook:
        if self._book is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - goes with this writer
            self._book = xlsxwriter.Workbook(self._file, {"constant_memory": True})
            self._sheet = self._book.add_worksheet("Data")
            self._write(self.columns)
        return self._book

    def page(self, items: Iterable[Any]) -> bytes:
        """Write the next rows; an Excel file cannot be sent before it is complete."""
        self._open()
        for row in self.rows(items):
            self._write(row)
        return b""

    def _write(self, cells: Iterable[Any]) -> None:
        if self._next_row >= MAX_XLSX_ROWS:
            return
        for column, cell in enumerate(cells):
            self._write_cell(column, cell)
        self._next_row += 1

    def _write_cell(self, column: int, cell: Any) -> None:
        if isinstance(cell, bool):
            self._sheet.write_boolean(self._next_row, column, cell)
        elif isinstance(cell, (int, float)) and abs(cell) < 1e15:
            self._sheet.write_number(self._next_row, column, cell)
        elif cell is not None:
            # Never a formula or a link, whatever the text looks like.
            self._sheet.write_string(self._next_row, column, _sheet_text(cell))

    def end(self) -> Iterator[bytes]:
        """Complete the file and give it piece by piece."""
        self._open().close()
        self._file.seek(0)
        while piece := self._file.read(64 * 1024):
            yield piece
        self._file.close()


def _sheet_text(cell: Any) -> str:
    return cell_text(cell).encode("utf-8", "replace").decode()[:MAX_XLSX_CHARS]


Writer = JsonWriter | JsonLinesWriter | CsvWriter | HtmlWriter | SheetWriter | XmlWriter | RssWriter

FORMATS = ("json", "jsonl", "csv", "html", "xlsx", "xml", "rss")


def make_writer(query: Mapping[str, str], dataset_id: str, link: str) -> tuple[str, Writer]:
    """The format that a query asks for (`json` if none) and its writer; `link` is the dataset's address.

    Raises:
        ApiError: 400 `invalid-parameter` for an unknown format or option.
    """
    name = query.get("format") or "json"
    match name:
        case "json":
            return name, JsonWriter()
        case "jsonl":
            return name, JsonLinesWriter()
        case "csv":
            skip_header = bool(parse_bool(query, "skipHeaderRow"))
            return name, CsvWriter(_delimiter(query), header=not skip_header)
        case "html":
            return name, HtmlWriter()
        case "xlsx":
            return name, SheetWriter()
        case "xml":
            root, row = query.get("xmlRoot") or "items", query.get("xmlRow") or "item"
            return name, XmlWriter(check_name(root, "xmlRoot"), check_name(row, "xmlRow"))
        case "rss":
            return name, RssWriter(dataset_id, link, query.get("feedTitle"), query.get("feedDescription"))
    raise ApiError(400, "invalid-parameter", f'Parameter "format" must be one of: {", ".join(FORMATS)}.')


def _delimiter(query: Mapping[str, str]) -> str:
    delimiter = query.get("delimiter") or ","
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise ApiError(400, "invalid-parameter", 'Parameter "delimiter" must be one character.')
    return delimiter


def opening(query: Mapping[str, str], name: str) -> bytes:
    """The byte order mark where the format has one by default (CSV) or the query asks for it."""
    return BOM if name != "xlsx" and parse_bool(query, "bom", default=name == "csv") else b""


def cell_text(cell: Any) -> str:
    """A scalar as text: null is empty, everything that is not text is written as JSON."""
    if cell is None:
        return ""
    return cell if isinstance(cell, str) else json.dumps(cell, ensure_ascii=False)


def encode(text: str) -> bytes:
    """UTF-8; what UTF-8 cannot say (a lone surrogate) becomes a question mark."""
    return text.encode("utf-8", "replace")


def to_json(value: Any) -> bytes:
    """Compact JSON in UTF-8."""
    return encode(json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False))
