"""The split into training, validation and test episodes: whole episodes, by their ids alone.

``split`` is the fixed rule of the published recordings, and looks at one id. ``split_episodes``
looks at the ids of a data set, large or small: it keeps what ``split`` says wherever that gives
validation and test a fair share, so that both agree on every published recording, and an episode
keeps its part when others are added.
"""

import math
import zlib
from collections import Counter
from collections.abc import Iterable

from worldmodel.errors import InputError

TEST, VALIDATION = (0, 7, 14), (3, 10, 17)  # residues of the id modulo 20
SHARE = 0.15  # of the episodes, of validation and of test


def split(identity: int | str) -> str:
    """'train', 'validation' or 'test', by the id modulo 20.

    An id that is no whole number counts as the CRC-32 of its UTF-8 text.
    """
    try:
        number = int(identity)
    except ValueError:
        number = _checksum(identity)
    residue = number % 20
    if residue in TEST:
        return "test"
    return "validation" if residue in VALIDATION else "train"


def split_episodes(ids: Iterable[int | str]) -> dict[int | str, str]:
    """The part of every episode of a set: id → 'train', 'validation' or 'test'.

    It starts from ``split``. Where that gives validation or test fewer than half or more than twice
    15 % of the episodes, episodes go to or come from training until it has 15 %, and one at
    least. Those with the lowest CRC-32 of their ids come first; so the outcome does not depend on
    the order of the ids. Two episodes are one to train and one to validate.

    Raises:
      InputError: fewer than two episodes, or two of one id.
    """
    ids = list(ids)
    repeated = sorted(str(i) for i, count in Counter(map(str, ids)).items() if count > 1)
    if repeated:
        raise InputError(f"episode ids {repeated[:8]} occur twice; number the episodes apart")
    if len(ids) < 2:
        raise InputError(
            f"{len(ids)} episode(s): a fit needs one to train on, another to validate and a third "
            "to test it; record more, or cut the recording into episodes"
        )
    order = sorted(ids, key=lambda i: (_checksum(i), str(i)))
    if len(ids) == 2:
        return {order[0]: "validation", order[1]: "train"}
    parts = {i: split(i) for i in order}
    share = max(1, round(SHARE * len(ids)))
    least, most = max(1.0, SHARE / 2 * len(ids)), max(1, math.floor(2 * SHARE * len(ids)))
    unfair = [p for p in ("validation", "test") if not least <= _size(parts, p) <= most]
    for part in unfair:  # first what is too many, so that training has enough to give
        for i in [i for i in order if parts[i] == part][share:]:
            parts[i] = "train"
    for part in unfair:
        for i in [i for i in order if parts[i] == "train"][: max(0, share - _size(parts, part))]:
            parts[i] = part
    return {i: parts[i] for i in ids}


def _size(parts: dict[int | str, str], part: str) -> int:
    return sum(p == part for p in parts.values())


def _checksum(identity: int | str) -> int:
    return zlib.crc32(str(identity).encode())
