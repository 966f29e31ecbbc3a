"""Cases beyond the catalogue: deviations that come together, and fields set to numbers at their limits.

Each case follows from the seed, the kind and its number alone: a longer corpus begins with a shorter one's.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from imgwriter.errors import SpecError
from imgwriter.fuzz.catalogue import deviations
from imgwriter.fuzz.chance import Chance
from imgwriter.fuzz.deviation import Case, Deviation, changed, combined
from imgwriter.fuzz.image import Image
from imgwriter.fuzz.record import Field

MOST_DEVIATIONS = 3
MOST_MUTATIONS = 3


class Mutation(NamedTuple):
    """A field that is set to something.

    Attributes:
        record, field: Their names in the image.
        value: A number, or the bytes of a field that is bytes.
    """

    record: str
    field: str
    value: int | bytes

    def name(self, kind: str) -> str:
        """Return what stands among a case's deviations."""
        value = self.value.hex() if isinstance(self.value, bytes) else f"{self.value:#x}"
        return f"{kind}.{self.record}.{self.field}={value}"

    def apply(self, image: Image) -> Image:
        """Return the image with the field set; checksums stay what they were."""
        return image.with_record(self.record, **{self.field: self.value})


def mixed_case(kind: str, seed: int, number: int) -> Case:
    """Return a case of several deviations and mutations; its verdict is not known.

    Args:
        kind: "mbr", "gpt", ...
        seed: From the command line.
        number: Of the case among those of the seed, from 0.
    """
    chance = Chance("imgwriter corpus 1", seed, kind, number)
    first = chance.pick(deviations(kind))
    alike = [d for d in deviations(kind) if d.base is first.base]
    drawn = chance.sample(alike, min(chance.below(MOST_DEVIATIONS + 1), len(alike)))
    named = applicable(first.base(), drawn)
    image = changed(first.base(), named)
    count = chance.below(MOST_MUTATIONS + 1)
    if not drawable(image):
        count = 0
    elif not named and not count:
        count = 1
    mutations = []
    for _ in range(count):
        mutation = draw_mutation(image, chance)
        mutations.append(mutation)
        image = mutation.apply(image)
    if mutations and chance.below(4):
        image = image.sealed()
    case = combined(named) if named else Case(kind, image, (), "", "")
    return replace(
        case,
        image=image,
        deviations=(*case.deviations, *(m.name(kind) for m in mutations)),
        description="; ".join(
            [case.description] * bool(named) + [f"{m.record}: {m.field} is set" for m in mutations]
        ),
    )


def applicable(image: Image, named: list[Deviation]) -> list[Deviation]:
    """Return the deviations that can come one after the other: one may take away what another changes."""
    kept: list[Deviation] = []
    for deviation in named:
        with suppress(SpecError):
            changed(image, [*kept, deviation])
            kept.append(deviation)
    return kept


def drawable(image: Image) -> list[str]:
    """Return the records that have fields."""
    return [name for name, placed in image.records.items() if placed.record.layout]


def draw_mutation(image: Image, chance: Chance) -> Mutation:
    """Return a field of the image, and a value for it that is worth a try."""
    record = chance.pick(drawable(image))
    field = chance.pick(list(image[record].layout))
    place = image[record].layout[field]
    if place.order is None:
        return Mutation(record, field, _bytes(place, image[record].raw(field), chance))
    return Mutation(record, field, _number(place, image[record][field], image, chance))


def _number(place: Field, value: int, image: Image, chance: Chance) -> int:
    bits = 8 * place.length
    sectors = image.size // image.sector_size
    worth = [
        0, 1, 2, value - 1, value + 1, 2 * value, (1 << bits) - 1, (1 << bits) - 2, 1 << (bits - 1),
        (1 << (bits - 1)) - 1, sectors - 1, sectors, sectors + 1, image.size, 1 << chance.below(bits),
        value ^ 1 << chance.below(bits), chance.below(1 << bits),
    ]  # fmt: skip
    return chance.pick(worth) & ((1 << bits) - 1)


def _bytes(place: Field, value: bytes, chance: Chance) -> bytes:
    flipped = bytearray(value)
    flipped[chance.below(len(value))] ^= 1 << chance.below(8)
    return chance.pick([bytes(place.length), b"\xff" * place.length, bytes(flipped), value[::-1]])
