"""Names of models that lie elsewhere: URLs, shown without what they keep secret."""

from __future__ import annotations

import os
import re
from typing import Self
from urllib.parse import unquote, urlsplit

_URL = re.compile("([A-Za-z][A-Za-z0-9+.-]+)://")
LOCAL = ("file", "local")
"""The protocols of this machine's files."""
_HOSTS = ("", "localhost")


class Address(str):
    """A URL as it may be shown: without user and password, query and fragment.

    It goes where a path goes, so that no message, report or record can hold a secret; only what
    opens it asks for the whole.

    Attributes:
        whole: The URL as it was given.
    """

    __slots__ = ("whole",)
    whole: str

    def __new__(cls, url: str) -> Self:
        """Returns the address of a URL."""
        scheme, _, rest = url.partition("://")
        host, slash, path = re.split("[?#]", rest, maxsplit=1)[0].partition("/")
        address = super().__new__(cls, f"{scheme}://{host.rpartition('@')[2]}{slash}{path}")
        address.whole = url
        return address

    def __reduce__(self) -> tuple[type[Address], tuple[str]]:
        """Returns how to make it again in another process."""
        return Address, (self.whole,)

    @property
    def protocol(self) -> str:
        """What stands before `://`, in small letters."""
        return self.partition("://")[0].lower()

    @property
    def secrets(self) -> list[str]:
        """The parts of the URL that are not shown, longest first."""
        parts = re.split("[/?#&=@:]", self.whole)
        hidden = {part for part in parts if part and part not in self}
        return sorted({*hidden, *map(unquote, hidden)}, key=len, reverse=True)

    def beside(self, name: str) -> Address:
        """Returns the address of another name in the same place."""
        place = re.split("[?#]", self.whole, maxsplit=1)[0].rpartition("/")[0]
        return Address(f"{place}/{name}")


def place_of(path: str | os.PathLike[str]) -> str:
    """Returns a path, or the address where it is a URL; that of a file of this machine is a path.

    Example:
        >>> place_of("s3://key:secret@bucket/critic.keras?token=1"), place_of("file:///a%20b.keras")
        ('s3://bucket/critic.keras', '/a b.keras')
    """
    given = os.fspath(path)
    found = None if isinstance(given, Address) else _URL.match(given)
    if found is None or os.path.lexists(given):
        return given
    parts = urlsplit(given)
    if found[1].lower() not in LOCAL or parts.netloc not in _HOSTS:
        return Address(given)
    return unquote(parts.path)
