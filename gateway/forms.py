"""An uploaded form on its way to the disk: bounded in every part, and never whole in memory.

Its one file is written as it comes; the other fields are short. Faults of the form are 400 with the field's name.
`tests/gateway/test_files_api.py`. Source: RFC 7578, OpenAI API reference "Upload file".
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import BinaryIO

from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from catalog.errors import InvalidRequest
from gateway.errors import MalformedForm

FILE_FIELD = "file"
MAX_FIELD_BYTES = 1024
MAX_PARTS = 8


class Form:
    """The parts of one form. Blocking: `feed` writes; call from one thread at a time."""

    def __init__(self, content_type: str, known: Collection[str], target: Path) -> None:
        """`target` will hold the file; `known` are the other fields. Raises MalformedForm."""
        _, options = parse_options_header(content_type)
        try:
            self._parser = PushMultipartParser(options.get("boundary", ""), max_segment_count=MAX_PARTS, strict=True)
        except MultipartError as error:
            raise _malformed(error) from error
        self._known = known
        self._target = target
        self._part = ""
        self._file: BinaryIO | None = None
        self._fields: dict[str, bytes] = {}
        self.filename: str | None = None

    def feed(self, chunk: bytes) -> None:
        """Take what came next; raises MalformedForm, InvalidRequest, or OSError of the disk."""
        try:
            for event in self._parser.parse(chunk):
                match event:
                    case MultipartSegment():
                        self._begin(event)
                    case None:
                        self.close()
                    case _:
                        self._add(bytes(event))
        except MultipartError as error:
            raise _malformed(error) from error

    def finish(self) -> dict[str, str]:
        """The fields, once nothing more comes; raises MalformedForm when the form is not whole or has no file."""
        try:
            self._parser.close()
            fields = {name: value.decode("utf-8") for name, value in self._fields.items()}
        except (MultipartError, UnicodeDecodeError) as error:
            raise _malformed(error) from error
        if self.filename is None:
            raise InvalidRequest("The form has no file.", param=FILE_FIELD, code="missing_required_parameter")
        return fields

    def close(self) -> None:
        """End the part that is being written."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _begin(self, part: MultipartSegment) -> None:
        self._part = part.name or ""
        if self._part == FILE_FIELD:
            if self.filename is not None or part.filename is None:
                raise InvalidRequest("The form needs one file with a name.", param=FILE_FIELD)
            self.filename = part.filename
            self._file = self._target.open("xb")
        elif self._part not in self._known:
            raise InvalidRequest(f"Unknown field {self._part[:100]!r}.", param=self._part[:100], code="unknown_field")
        elif self._part in self._fields:
            raise InvalidRequest(f"The field {self._part!r} comes twice.", param=self._part)
        else:
            self._fields[self._part] = b""

    def _add(self, piece: bytes) -> None:
        if self._file is not None:
            self._file.write(piece)
            return
        self._fields[self._part] += piece
        if len(self._fields[self._part]) > MAX_FIELD_BYTES:
            raise InvalidRequest(f"The field {self._part!r} is too long.", param=self._part)


def _malformed(error: Exception) -> MalformedForm:
    return MalformedForm(f"The form cannot be read: {error}.", hint="Send multipart/form-data with a file.")
