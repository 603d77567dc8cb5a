"""Names of persons as they are compared: two spellings of one name are one person. Pure."""

from __future__ import annotations

import unicodedata


def person_key(name: str) -> str:
    """What a name is compared by: without case, spaces, invisible characters and the ways Unicode writes the same.

    It is empty for a name that has nothing to be read in it.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return "".join(
        character for character in folded if not character.isspace() and unicodedata.category(character)[0] != "C"
    )
