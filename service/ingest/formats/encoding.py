"""The encoding of a file: found in its first bytes, and converted to UTF-8 as it is read.

The rules are a byte order mark, else valid UTF-8, else a NUL in every other byte, else
Windows-1252 if it reads like that. charset-normalizer knows many more encodings, but it compares
how plausible whole texts are, and a table of short Western cells is too little for that: it reads
`Tea,£3` as Japanese, and the curly quotes of Word as Mac OS Icelandic. A wrong guess changes texts
silently, so any other encoding has to be named: until then its rows are refused one by one.
"""

from __future__ import annotations

import codecs
import io
import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from service.ingest.reading import CHUNK
from service.ingest.record import InvalidRecord

if TYPE_CHECKING:
    from typing_extensions import Buffer

UTF8, WINDOWS = "utf-8", "windows-1252"
MARKS = (  # those of UTF-32 begin like those of UTF-16
    (codecs.BOM_UTF8, UTF8),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
TABLE = "save or export it as CSV"
UNPACK = "only gzip is unpacked: unpack it first"
SIGNATURES = {
    b"PK\x03\x04": f"is an Excel workbook or another ZIP archive: {TABLE}",
    b"\xd0\xcf\x11\xe0": f"is an Excel workbook: {TABLE}",
    b"PAR1": f"is a Parquet file: {TABLE}",
    b"SQLite format 3\0": f"is an SQLite database: {TABLE}",
    b"%PDF-": "is a PDF: extract its text first",
    b"BZh": f"is compressed with bzip2, and {UNPACK}",
    b"\xfd7zXZ\0": f"is compressed with xz, and {UNPACK}",
    b"\x28\xb5\x2f\xfd": f"is compressed with zstd, and {UNPACK}",
}
BINARY = f"is a binary file, not a text: {TABLE} or as JSON Lines"
CONTROLS = bytes({*range(0x20), 0x7F} - set(b"\t\n\v\f\r\x1b"))
MOST_CONTROLS, MOST_CONTROLS_OF_UTF8 = 0.02, 0.3
FEWEST_CHARACTERS = 4  # to recognize UTF-16 without a byte order mark
MOST_NULS, FEWEST_NULS = 0.05, 0.6  # of the even or odd bytes of UTF-16 in Western languages
# Sequences that Windows-1252 hardly ever has: bytes without a meaning, ÿ alone, runs of special
# characters, symbols within words, an accented capital in a word of small letters.
IMPLAUSIBLE = re.compile(
    "\ufffd|(?<![^\\W\\d_])ÿ"
    "|[^\x00-\x7f\u2013\u2014…•·]{4,}"
    "|(?<=[^\\W\\d_])[¡-©«¬®-¶¸¹»-¿×÷‚„†‡ˆ‰‹›˜¤](?=[^\\W\\d_])"
    "|(?<=[a-zß-ÿ])[À-ÖØ-ÞŠŒŽŸ]"
)
MOST_IMPLAUSIBLE = 0.1
OF_HOST_NAMES = {"idna", "punycode"}
INVALID = "\udcff"  # stands for what can't be decoded, and is not valid in UTF-8 either

codecs.register_error("cascade.invalid", lambda exc: (INVALID, exc.end))  # type: ignore[attr-defined]


def is_encoding(name: str) -> bool:
    """Whether Python has a text encoding of this name, and files can be in it."""
    try:
        "".encode(name)
        return codecs.lookup(name).name not in OF_HOST_NAMES
    except (LookupError, ValueError):
        return False


def is_utf8(encoding: str) -> bool:
    return codecs.lookup(encoding).name in {"utf-8", "utf-8-sig"}


def detect_encoding(head: bytes) -> str:
    """The encoding of a file that begins with `head`. Raises `InvalidRecord` if it is no text."""
    for mark, encoding in MARKS:
        if head.startswith(mark):
            return encoding
    for signature, reason in SIGNATURES.items():
        if head.startswith(signature):
            raise InvalidRecord(reason)
    if utf16 := _utf16_without_mark(head):
        return utf16
    controls = (len(head) - len(head.translate(None, CONTROLS))) / max(len(head), 1)
    text = codecs.getincrementaldecoder(UTF8)("replace").decode(head)  # it may end in a character
    invalid = text.count("\ufffd")
    if controls > (MOST_CONTROLS if invalid else MOST_CONTROLS_OF_UTF8):
        raise InvalidRecord(BINARY)
    valid = len(re.findall("[^\x00-\x7f\ufffd]", text)) if invalid else 0
    if not invalid or valid * 10 > invalid:
        return UTF8  # with some damaged characters
    return WINDOWS if _is_like_windows_1252(head) else UTF8


def is_binary(head: bytes) -> bool:
    """Whether a file that begins with `head` is not a text for people, such as a picture."""
    try:
        return is_utf8(detect_encoding(head)) and b"\0" in head
    except InvalidRecord:
        return True


def _utf16_without_mark(head: bytes) -> str | None:
    even, odd = head[::2], head[1::2]
    if len(odd) < FEWEST_CHARACTERS:
        return None
    nuls = even.count(0) / len(even), odd.count(0) / len(odd)
    if nuls[0] <= MOST_NULS and nuls[1] >= FEWEST_NULS:
        return "utf-16-le"
    if nuls[1] <= MOST_NULS and nuls[0] >= FEWEST_NULS:
        return "utf-16-be"
    return None


def _is_like_windows_1252(head: bytes) -> bool:
    text = head.decode(WINDOWS, "replace")
    special = len(re.findall("[^\x00-\x7f]", text))
    implausible = sum(len(each) for each in IMPLAUSIBLE.findall(text))
    return implausible <= special * MOST_IMPLAUSIBLE


def has_carriage_returns_only(text: str) -> bool:
    """Whether the lines end as those of old Macs did."""
    return "\r" in text and "\n" not in text


class _Utf8Stream(io.RawIOBase):
    """A stream in UTF-8 of what another one has in `encoding`.

    A position is one in the UTF-8, as that of a compressed file is one in the uncompressed bytes.
    To go to it, what is before has to be converted. What can't be decoded is not valid UTF-8, so
    its line is refused.
    """

    def __init__(self, stream: BinaryIO, encoding: str, *, replace_cr: bool) -> None:
        self._pieces = _pieces(stream, encoding, replace_cr)
        self._piece = memoryview(b"")
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        if not self._piece:
            self._piece = memoryview(next(self._pieces, b""))
        target = memoryview(buffer)
        count = min(len(self._piece), len(target))
        target[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        self._at += count
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Forward only."""
        target = offset + self._at * (whence == os.SEEK_CUR)
        if whence == os.SEEK_END or target < self._at:
            raise io.UnsupportedOperation("only a later position can be reached")
        while self._at < target and self.readinto(bytearray(min(target - self._at, CHUNK))):
            pass
        return self._at


def _pieces(stream: BinaryIO, encoding: str, replace_cr: bool) -> Iterator[bytes]:
    decoder: codecs.IncrementalDecoder | io.IncrementalNewlineDecoder
    decoder = codecs.getincrementaldecoder(encoding)("cascade.invalid")
    if replace_cr:
        decoder = io.IncrementalNewlineDecoder(decoder, translate=True)
    try:
        while data := stream.read1(CHUNK):  # type: ignore[attr-defined]
            if text := decoder.decode(data):
                yield text.encode(UTF8, "surrogateescape")
        yield decoder.decode(b"", final=True).encode(UTF8, "surrogateescape")
    except UnicodeError:  # what no error handler is asked about, such as no byte order mark
        yield INVALID.encode(UTF8, "surrogateescape")


def open_as_utf8(stream: BinaryIO, encoding: str, *, replace_cr: bool) -> BinaryIO:
    """The stream in UTF-8, with LF instead of CR if asked for."""
    return io.BufferedReader(_Utf8Stream(stream, encoding, replace_cr=replace_cr), CHUNK)
