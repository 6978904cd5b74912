"""Reading a file: row by row, every defect collected, one form from its first good row to its end."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from catalog import strict_json
from catalog.datasets import forms, lines
from catalog.datasets.conversation import Example
from catalog.datasets.defects import Defects
from catalog.datasets.forms import Form
from catalog.errors import InvalidDataset

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Dataset:
    """All rows of a file, with the digest of its bytes and of its canonical rows."""

    path: Path
    rows: tuple[Example, ...]
    bytes_sha256: str
    rows_sha256: str
    form: Form


def digest_of(dataset: Dataset, validation: Dataset | None) -> str:
    """Tells whether other rows are the same ones on the same sides; `validation` is held out where there is one."""
    if validation is None:
        return dataset.rows_sha256
    return hashlib.sha256(f"{dataset.rows_sha256} {validation.rows_sha256}".encode()).hexdigest()


@dataclass(slots=True)
class Reader:
    """What is known of a dataset while its rows come by."""

    defects: Defects = field(default_factory=Defects)
    form: Form | None = None
    form_line: int = 0
    rows: int = 0
    is_over: bool = False
    """Whether the rest is not worth reading: it is not JSONL."""

    def file(self, path: Path, digest: Any = None) -> Iterator[Example]:
        """Good rows of a file, one at a time; `digest` gets its bytes. Raises InvalidDataset if it cannot be read."""
        with lines.open_file(path) as opened:
            for number, line in lines.numbered(opened, digest.update if digest is not None else len):
                row = self._line(line, number)
                if row is not None:
                    yield row
                if self.is_over:
                    return

    def values(self, rows: Iterable[object]) -> Iterator[Example]:
        """Good rows of values that were parsed elsewhere, numbered from 1."""
        for number, value in enumerate(rows, start=1):
            row = self._value(value, number)
            if row is not None:
                yield row
            if self.is_over:
                return

    def _line(self, line: bytes | None, number: int) -> Example | None:
        if line is None:
            self.defects.add(number, "", f"is longer than {lines.MAX_LINE_BYTES >> 20} MiB")
            return None
        if number == 1 and line.startswith(BYTE_ORDER_MARK):
            self.defects.add(number, "", "begins with a byte order mark")
            line = line[len(BYTE_ORDER_MARK) :]
        try:
            value = strict_json.parse(line)
        except strict_json.JsonFault as fault:
            self._unreadable(line, number, fault)
            return None
        return self._value(value, number)

    def _unreadable(self, line: bytes, number: int, fault: strict_json.JsonFault) -> None:
        if self.rows == 0 and self.defects.total == 0 and line.strip() == b"[":
            self.defects.add(number, "", "begins a JSON array; a dataset is JSONL, one object on each line")
            self.is_over = True
            return
        path = "" if self.defects.is_full else fault.path[1:].removeprefix(".")
        self.defects.add(number, path, fault.what)

    def _value(self, value: object, number: int) -> Example | None:
        before = self.defects.total
        row = self._example(value, number)
        if self.defects.total > before:
            return None
        self.rows += 1
        return row

    def _example(self, value: object, number: int) -> Example | None:
        def report(path: str, what: str) -> None:
            self.defects.add(number, path, what)

        if not isinstance(value, dict):
            report("", "must be a JSON object")
            return None
        for path in _nul_places(value, ""):
            report(path, "holds a NUL character")
        form = forms.form_of(value)
        if form is None:
            known = ", ".join(form.marks[0] for form in forms.FORMS)
            report("", f"has none of the keys that tell a form: {known}")
            return None
        if self.form not in (None, form):
            report("", f"is {form.name}, but the file is {self.form.name} since line {self.form_line}")
            return None
        before = self.defects.total
        example = forms.example_of(form, value, number, report)
        if self.defects.total == before and self.form is None:
            self.form, self.form_line = form, number
        return example


def read(path: Path) -> Dataset:
    """Read a dataset; raises InvalidDataset with every defect when there is any, or when it is missing or empty."""
    reader, digest = Reader(), hashlib.sha256()
    rows = tuple(reader.file(path, digest))
    form = _sound(reader, path.name)
    rows_digest = hashlib.sha256(b"\n".join(row.canonical() for row in rows)).hexdigest()
    return Dataset(path, rows, digest.hexdigest(), rows_digest, form)


def verify(path: Path, *, name: str = "") -> Form:
    """The form of a dataset that is sound; raises InvalidDataset as `read` does. Holds one row at a time.

    `name` is what people call the file.
    """
    reader = Reader()
    for _ in reader.file(path):
        pass
    return _sound(reader, name or path.name)


def _sound(reader: Reader, name: str) -> Form:
    """The form of what was read; raises InvalidDataset when it had defects or nothing."""
    if reader.defects.total:
        raise InvalidDataset(reader.defects.summary(name), defects=reader.defects.lines(name))
    if reader.form is None:
        raise InvalidDataset(f"{name}: has no rows", defects=(f"{name}: has no rows",))
    return reader.form


def _nul_places(value: object, path: str) -> Iterator[str]:
    match value:
        case str() if "\0" in value:
            yield path
        case list():
            for index, inner in enumerate(value):
                yield from _nul_places(inner, f"{path}[{index}]")
        case dict():
            for key, inner in value.items():
                yield from _nul_places(inner, f"{path}.{key}" if path else key)
