"""What a client asks of a dataset's items: which of them, and which of their fields.

The names and meanings of the query parameters are those of "Get dataset items" in the platform's API.
Order of application: `desc`, `offset` and `limit` choose items as they are stored; then each chosen item
goes through `skipFailedPages`, `skipHidden`, `unwind`, `flatten`, `fields`, `omit`, `outputFields` and
`skipEmpty`. `fields` may name a field that is unwound or flattened, and then keeps all that came out of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from .errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MAX_ITEMS_PER_REQUEST = 250_000
UNLIMITED = 999_999_999_999
"""What the platform reports as the limit of a request that set none."""

LARGEST_NUMBER = 2**53
"""Beyond it not every whole number is a JSON number of its own."""

Record = dict[str, Any]


def parse_bool(query: Mapping[str, str], name: str, default: bool | None = None) -> bool | None:
    """A boolean query parameter: `true`, `1`, `false`, `0`; empty counts as absent.

    Raises:
        ApiError: 400 `invalid-parameter` for anything else.
    """
    value = query.get(name, "").lower()
    if value == "":
        return default
    if value in ("true", "1"):
        return True
    if value in ("false", "0"):
        return False
    raise ApiError(400, "invalid-parameter", f'Parameter "{name}" must be a boolean.')


def parse_number(query: Mapping[str, str], name: str) -> int:
    """A non-negative whole query parameter, 0 when absent; clients also send it as a float, `60.0`.

    Raises:
        ApiError: 400 `invalid-parameter` for anything else.
    """
    return int(parse_seconds(query, name))


def parse_seconds(query: Mapping[str, str], name: str) -> float:
    """A non-negative query parameter, 0 when absent; it may have a fraction.

    Raises:
        ApiError: 400 `invalid-parameter` for anything else.
    """
    try:
        number = float(query.get(name) or 0)
    except ValueError:
        number = -1.0
    if not 0 <= number <= LARGEST_NUMBER:
        raise ApiError(400, "invalid-parameter", f'Parameter "{name}" must be a non-negative number.')
    return number


def parse_names(query: Mapping[str, str], name: str) -> tuple[str, ...]:
    """A comma-separated list of field names."""
    return tuple(part.strip() for part in query.get(name, "").split(",") if part.strip())


@dataclass(frozen=True, slots=True)
class ItemQuery:
    """A parsed request for items."""

    offset: int = 0
    limit: int | None = None
    desc: bool = False
    fields: tuple[str, ...] = ()
    output_fields: tuple[str, ...] = ()
    omit: tuple[str, ...] = ()
    unwind: tuple[str, ...] = ()
    flatten: tuple[str, ...] = ()
    skip_hidden: bool = False
    skip_empty: bool = False
    skip_failed_pages: bool = False

    @classmethod
    def parse(cls, query: Mapping[str, str]) -> Self:
        """Read the query parameters; unknown ones are ignored, `limit=0` means no limit.

        Raises:
            ApiError: 400 `invalid-parameter`.
        """
        clean = bool(parse_bool(query, "clean"))
        parsed = cls(
            offset=parse_number(query, "offset"),
            limit=parse_number(query, "limit") or None,
            desc=bool(parse_bool(query, "desc")),
            fields=parse_names(query, "fields"),
            output_fields=parse_names(query, "outputFields"),
            omit=parse_names(query, "omit"),
            unwind=parse_names(query, "unwind"),
            flatten=parse_names(query, "flatten"),
            skip_hidden=clean or bool(parse_bool(query, "skipHidden")),
            skip_empty=clean or bool(parse_bool(query, "skipEmpty")),
            skip_failed_pages=bool(parse_bool(query, "skipFailedPages")),
        )
        if parse_bool(query, "simplified"):
            parsed = replace(
                parsed, fields=("url", "pageFunctionResult", "errorInfo"), unwind=("pageFunctionResult",)
            )
        if parsed.output_fields and len(parsed.output_fields) != len(parsed.fields):
            raise ApiError(
                400, "invalid-parameter", 'Parameter "outputFields" must name as many fields as "fields".'
            )
        return parsed

    @property
    def page_limit(self) -> int:
        """How many stored items one response covers at most."""
        return min(self.limit or MAX_ITEMS_PER_REQUEST, MAX_ITEMS_PER_REQUEST)

    @property
    def reported_limit(self) -> int:
        """The limit as the pagination headers tell it."""
        return self.page_limit if self.limit else UNLIMITED

    @property
    def keeps_items(self) -> bool:
        """Whether every chosen item leaves exactly as it was stored."""
        return self == ItemQuery(offset=self.offset, limit=self.limit, desc=self.desc)

    def shape(self, items: Iterable[Any]) -> Iterator[Any]:
        """Apply everything but `offset`, `limit` and `desc` to chosen items, in order."""
        for item in items:
            if not isinstance(item, dict):
                if not (self.skip_empty and _is_empty(item)):
                    yield item
            elif not (self.skip_failed_pages and item.get("errorInfo")):
                yield from self._shape_record(item)

    def _shape_record(self, record: Record) -> Iterator[Record]:
        if self.skip_hidden:
            record = {key: value for key, value in record.items() if not key.startswith("#")}
        for unwound, names in _unwind(record, self.unwind, self.fields):
            flat, kept_names = _flatten(unwound, self.flatten, names)
            shaped = _pick(flat, kept_names) if self.fields else flat
            if self.omit:
                shaped = _omit(shaped, self.omit)
            if self.output_fields:
                shaped = _rename(shaped, dict(zip(self.fields, self.output_fields, strict=True)))
            if not (self.skip_empty and _is_empty(shaped)):
                yield shaped


def _is_empty(item: Any) -> bool:
    return item is None or item in ({}, [], "")


def _unwind(
    record: Record, unwind: tuple[str, ...], names: tuple[str, ...]
) -> Iterator[tuple[Record, tuple[str, ...]]]:
    """Replace a list field by one record for each element, an object field by its own fields.

    Each record comes with the names to keep of it: those asked for, an unwound one replaced by what it held.
    """
    if not unwind:
        yield record, names
        return
    field, rest = unwind[0], unwind[1:]
    value = record.get(field)
    children = value if isinstance(value, list) else [value]
    if not children or not isinstance(value, (list, dict)):
        yield from _unwind(record, rest, names)
        return
    parent = {key: kept for key, kept in record.items() if key != field}
    for child in children:
        merged = child if isinstance(child, dict) else {field: child}
        yield from _unwind({**parent, **merged}, rest, _substitute(names, field, merged))


def _substitute(names: tuple[str, ...], field: str, replacements: Iterable[str]) -> tuple[str, ...]:
    if field not in names:
        return names
    at = names.index(field)
    return (*names[:at], *replacements, *names[at + 1 :])


def _flatten(
    record: Record, flatten: tuple[str, ...], names: tuple[str, ...]
) -> tuple[Record, tuple[str, ...]]:
    """Turn each named nested value into top-level fields with dotted names."""
    for field in flatten:
        if not isinstance(record.get(field), (dict, list)):
            continue
        leaves = dict(_leaves(field, record[field], "."))
        names = _substitute(names, field, leaves)
        flat: Record = {}
        for key, value in record.items():
            flat.update(leaves if key == field else {key: value})
        record = flat
    return record, names


def _leaves(path: str, value: Any, separator: str) -> Iterator[tuple[str, Any]]:
    """Every scalar under a nested value with its path; an empty object or list counts as a scalar."""
    if isinstance(value, dict) and value:
        for key, child in value.items():
            yield from _leaves(f"{path}{separator}{key}", child, separator)
    elif isinstance(value, list) and value:
        for index, child in enumerate(value):
            yield from _leaves(f"{path}{separator}{index}", child, separator)
    else:
        yield path, value


def flat_cells(item: Any) -> Record:
    """An item as one row of a table: nested fields get names like `address/0/street`."""
    if not isinstance(item, dict):
        return {"value": item} if not isinstance(item, list) else dict(_leaves("value", item, "/"))
    cells: Record = {}
    for key, value in item.items():
        cells.update(_leaves(key, value, "/"))
    return cells


def _pick(record: Record, names: tuple[str, ...]) -> Record:
    picked: Record = {}
    for name in names:
        if name in record:
            picked[name] = record[name]
        elif "." in name:
            _pick_path(record, name.split("."), picked)
    return picked


def _pick_path(source: Any, path: list[str], target: Record) -> None:
    """Copy a nested field together with the objects that lead to it."""
    key, rest = path[0], path[1:]
    if not isinstance(source, dict) or key not in source:
        return
    if not rest:
        target[key] = source[key]
    elif isinstance(source[key], dict):
        inner: Record = {}
        _pick_path(source[key], rest, inner)
        if inner:
            target[key] = {**target.get(key, {}), **inner}


def _omit(record: Record, names: tuple[str, ...]) -> Record:
    for name in names:
        if name in record:
            record = {key: value for key, value in record.items() if key != name}
        elif "." in name:
            key, rest = name.split(".", 1)
            if isinstance(record.get(key), dict):
                record = {**record, key: _omit(record[key], (rest,))}
    return record


def _rename(record: Record, new_names: Mapping[str, str]) -> Record:
    return {new_names.get(key, key): value for key, value in record.items()}
