"""How does text from outside get into a page? Escaped, and without characters that would reorder or break it."""

from __future__ import annotations

import html

# Control characters (but tab and newline) and the ones that turn the direction of text
_HIDDEN = dict.fromkeys(
    [*range(0x09), 0x0B, 0x0C, *range(0x0E, 0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)],
    "\N{REPLACEMENT CHARACTER}",
)


def escape(text: str) -> str:
    """Safe inside an element and inside a quoted attribute; lone surrogates become question marks."""
    return html.escape(text.encode("utf-8", "replace").decode("utf-8").translate(_HIDDEN), quote=True)
