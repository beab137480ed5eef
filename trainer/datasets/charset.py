"""The characters of an input file: found out where that is certain, as UTF-8 from there on."""

import codecs
import re
from pathlib import Path

from index.errors import InputError
from trainer.datasets.input_bytes import line_at

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
BLOCK = 1 << 20  # bytes
SAMPLE = 4096  # bytes
SHOWN = 40  # bytes around one that is not UTF-8
WESTERN = "cp1252"  # what most files that are not UTF-8 are in


def as_utf8(
    file: Path,
    content: memoryview,
    *,
    encoding: str | None = None,
    fallback: str | None = None,
    option: str | None = None,
) -> tuple[memoryview, str]:
    """The content as UTF-8 without a byte order mark, and the name of the encoding that it was in.

    `encoding` is obeyed; without it a byte order mark, zero bytes and validity decide, and `fallback` is for content
    that is none of these. InputError: neither helps, or the content is not in the encoding; `option` is advised.
    """
    named = encoding or _certain(content)
    if named is None and _invalid_at(content) is not None:
        named = fallback
    if named is not None and _python_name(named) != "utf-8":
        return _without_mark(_decoded(file, content, named)), named
    if (offset := _invalid_at(content)) is not None:
        raise InputError(_not_utf8(file, content, offset, option))
    return _without_mark(content), "utf-8"


def _python_name(encoding: str) -> str:
    try:
        "".encode(encoding)  # also refuses codecs that are no text encodings
        return codecs.lookup(encoding).name
    except (LookupError, ValueError) as error:
        raise InputError(f"no such encoding: {encoding!r}; expected one such as utf-8, cp1252, utf-16") from error


def _certain(content: memoryview) -> str | None:
    start = bytes(content[:4])
    marked = next((name for mark, name in BYTE_ORDER_MARKS if start.startswith(mark)), None)
    return marked or _by_zero_bytes(bytes(content[:SAMPLE]))


def _by_zero_bytes(sample: bytes) -> str | None:
    """UTF-16 or UTF-32 by the places of zero bytes: separators and line ends are ASCII in any language."""
    zeros = [sample[place::4].count(0) for place in range(4)]
    if sum(zeros) * 10 < len(sample):
        return None
    first, second, third, fourth = (share > len(sample) / 5 for share in zeros)  # of a quarter each
    if fourth and third and not first:
        return "utf-32-le"
    if first and second and not fourth:
        return "utf-32-be"
    even, odd = zeros[0] + zeros[2], zeros[1] + zeros[3]
    if max(even, odd) < 10 * min(even, odd):
        return None
    return "utf-16-le" if odd > even else "utf-16-be"


def _invalid_at(content: memoryview) -> int | None:
    """The offset of the first byte that is no UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(content), BLOCK):
        block = bytes(content[start : start + BLOCK])
        pending = len(decoder.getstate()[0])
        try:
            decoder.decode(block, start + BLOCK >= len(content))
        except UnicodeDecodeError as error:
            return start - pending + error.start
    return None


def _decoded(file: Path, content: memoryview, encoding: str) -> memoryview:
    whole = bytearray()
    try:
        decoder = codecs.getincrementaldecoder(encoding)()
        for start in range(0, len(content), BLOCK):
            block = bytes(content[start : start + BLOCK])
            whole += decoder.decode(block, start + BLOCK >= len(content)).encode()
    except (UnicodeError, LookupError) as error:
        line = line_at(memoryview(whole), len(whole))
        raise InputError(f"{file} is not {encoding} throughout, after line {line}: {error}") from error
    return memoryview(whole)


def _without_mark(content: memoryview) -> memoryview:
    return content[3:] if bytes(content[:3]) == codecs.BOM_UTF8 else content


def _not_utf8(file: Path, content: memoryview, offset: int, option: str | None) -> str:
    number = line_at(content, offset)
    found = f"{file}, line {number}: byte 0x{content[offset]:02x} is not UTF-8"
    if option is None:
        return f"{found}; convert the file to UTF-8"
    before = re.split(rb"[\r\n]", bytes(content[max(0, offset - SHOWN) : offset]))[-1]
    after = re.split(rb"[\r\n]", bytes(content[offset : offset + SHOWN]))[0]
    try:
        seen = (before + after).decode(WESTERN).strip()
    except UnicodeDecodeError:
        return f"{found}; name the encoding with {option}, such as latin-1 or gb18030"
    return f"{found}; in {WESTERN} it reads {seen!r}: if that is right, {option} {WESTERN}, else name another"
