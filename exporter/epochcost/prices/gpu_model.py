"""One spelling for each GPU model, however a provider, a driver or a market spells it.

Two GPUs share a name when they have the same chip and the same memory. So ``NVIDIA H100 80GB HBM3``, ``H100 SXM`` and
``nvidia_h100`` are ``H100``, while the smaller PCIe chip is ``H100 PCIe``; the boards of an A100 (SXM4, PCIe) have one
chip, so only the memory distinguishes them: ``A100 40GB``, ``A100 80GB``, and ``A100`` if it is unknown.
"""

from __future__ import annotations

import logging
import re
from functools import lru_cache

_log = logging.getLogger(__name__)
_GIB = 1024**3
_NOISE = re.compile(
    r"\b(nvidia|amd|intel|habana|google|aws|amazon|tesla|geforce|instinct|grid|graphics|gpus?|accelerator|tensor|core|"
    r"hbm\d\w*|gddr\d\w*|ecc|oam|vf|vws|generation|edition|server|workstation|blackwell|sxm\d?|mega|plus|hgx|"
    r"attached|running|ac|3e|trn\d ultra|dgx spark)\b"
)
_MEMORY = re.compile(r"\b(\d+) ?gi?b\b|\b(\d{2,}) ?g\b")
"""``80GB``, ``144G``; not ``1g`` of a MIG slice."""
# fmt: off
_CHIPS = frozenset((
    "a2", "a10", "a10g", "a16", "a30", "a40", "a100", "a100x", "a800", "b100", "b200", "b300", "gb10", "gb200", "gb300",
    "gh200", "h20", "h100", "h200", "h800", "k40", "k80", "k520", "l2", "l4", "l20", "l40", "l40s", "m4", "m40",
    "m60", "p4", "p40", "p100", "t4", "t4g", "v100", "v100s", "mi25", "mi50", "mi60", "mi100", "mi210", "mi250",
    "mi250x", "mi300a", "mi300x", "mi308x", "mi325x", "mi350x", "mi355x", "mi430x", "mi440x", "mi450x", "r200", "vr200",
))
# fmt: on
_BOARDS = re.compile(r"|pcie|nvl|nvl\d+|cnx|fhhl|dgxs|active|n|pg\d+ \d+")
"""Of a data-centre chip: PCIe, NVL, racks (NVL72), and boards that change neither the chip nor its memory."""
_SIZES_GIB = {"A100": (40, 80), "V100": (16, 32)}
"""Chips that are sold with two sizes of memory: the size is part of the name wherever it is known."""
_MADE_WITH_GIB = {
    "P100": (12, 16), "V100": (16, 32), "T4": (16,), "A10": (24,), "A30": (24,), "A100": (40, 80), "L4": (24,),
    "L40S": (48,), "H100": (80,), "H100 PCIe": (80,), "H100 NVL": (94,), "H200": (141,), "GH200": (96, 144),
    "B200": (180, 192), "GB200": (186,), "B300": (270, 288), "GB300": (278, 288), "MI300X": (192,), "MI325X": (256,),
    "MI350X": (288,), "MI355X": (288,), "RTX PRO 6000": (96,),
}  # fmt: skip
"""GiB of one GPU, to determine whether a list means one or all of a machine; models that are not here are unknown."""
_LEAST_OF = 0.9
_NVL_GIB = 90
"""An H100 with more memory than this is the NVL board (94 GB)."""
_WORKSTATION = ("2000", "4000", "4500", "5000", "5500", "6000")
_RTX_6000_BY_GIB = {24: "Quadro RTX 6000", 48: "RTX 6000 Ada", 96: "RTX PRO 6000"}
"""Three generations have one short name."""
_TPU_BY_WORD = {
    "v5litepod": "v5e",
    "v5lite": "v5e",
    "ct5l": "v5e",
    "ct5lp": "v5e",
    "ct5p": "v5p",
    "ct6e": "v6e",
    "ct3": "v3",
    "ct3p": "v3",
    "ct4p": "v4",
    "trillium": "v6e",
    "ironwood": "v7x",
    "tpu7x": "v7x",
}
_OTHERS = (
    (r"gaudi( hl 205)?", "Gaudi"),
    (r"gaudi ?([23])", r"Gaudi\1"),
    (r"(trainium|inferentia) ?(\d?)", r"\1\2"),
    (r"(?:radeon )?(?:pro )?(v520|v620|v710)", r"Radeon Pro \1"),
    (r"titan ?(v|rtx|xp|x)(?: pascal)?", r"TITAN \1"),
    (r"q(?:uadro)? ?rtx ?([4568]000)(?: passive)?", r"Quadro RTX \1"),
    (r"rtx ?pro ?(\d{4}) ?( ?(ws|wk|s|se|bse|max ?q))*", r"RTX PRO \1"),
    (r"(?:radeon )?rx ?(\d{4})", r"RX \1"),
    (r"(?:radeon )?rx ?(\d{4}) ?(xtx?|gre)", r"RX \1 \2"),
    (r"radeon pro w ?(\d{4})", r"Radeon Pro W\1"),
    (r"(?:radeon )?ai pro r ?(\d{4})", r"Radeon AI Pro R\1"),
    (r"(?:data center )?max (\d{4})", r"Max \1"),
    (r"arc (?:pro )?([ab]\d{2,3})", r"Arc \1"),
    (r"cmp (\d+hx)", r"CMP \1"),
    (r"(?:rtx ?)?([2-6]\d00)(?: sff)? ?ada", r"RTX \1 Ada"),
    (r"rtx ?a(\d{4})", r"RTX A\1"),
)


@lru_cache(maxsize=4096)
def canonical(name: str, memory_bytes: int | None = None) -> str:
    """The one spelling of ``name``; empty, with one log line, if the table does not contain it.

    Args:
        name: as a provider or a driver writes it: ``NVIDIA A100-SXM4-40GB``, ``A100 SXM4``, ``nvidia_a100``.
        memory_bytes: of one GPU, where known; it distinguishes models with one name.
    """
    if not name.strip():
        return ""
    words = re.sub(r"[^a-z0-9]+", " ", name.lower())
    written = _MEMORY.search(words)
    memory_gib = float(written[1] or written[2]) if written else None if memory_bytes is None else memory_bytes / _GIB
    plain = " ".join(_NOISE.sub(" ", _MEMORY.sub(" ", words)).split())
    model = _model(plain, memory_gib)
    if written and model in _SIZES_GIB:  # a size of its own in the name (64 GB) makes it another model than those here
        model = ""
    least_gib = min(_MADE_WITH_GIB.get(model, (0,)))
    if written and memory_gib is not None and memory_gib < _LEAST_OF * least_gib:
        model = ""  # less memory than the chip is made with: a slice of it, a vGPU, or another chip
    if not model:
        _log.info("GPU model %.80r is not in the table of names and is left out", name)
    return model


def is_made_with(model: str, memory_gib: float) -> bool:
    """Whether ``model`` is made with that much memory, within a tenth; False for models of which this is not known."""
    sizes = _MADE_WITH_GIB.get(model) or _MADE_WITH_GIB.get(model.partition(" ")[0], ())
    return any(abs(memory_gib - size) <= size / 10 for size in sizes)


def _model(plain: str, memory_gib: float | None) -> str:
    return _chip(plain, memory_gib) or _tpu(plain) or _graphics_card(plain, memory_gib) or _other(plain)


def _chip(plain: str, memory_gib: float | None) -> str:
    """A data-centre chip, perhaps with its board."""
    chip, _, board = plain.partition(" ")
    if chip not in _CHIPS or not _BOARDS.fullmatch(board):
        return ""
    if chip in ("h100", "h200") and board == "nvl":
        return f"{chip.upper()} NVL"
    if chip == "h100" and board == "pcie":
        return "H100 PCIe"
    if chip == "h100" and memory_gib is not None and memory_gib > _NVL_GIB:
        return "H100 NVL"
    model = chip.upper()
    sizes = _SIZES_GIB.get(model, ())
    if not sizes or memory_gib is None:
        return model
    return next((f"{model} {size}GB" for size in sizes if abs(memory_gib - size) <= size / 10), model)


def _tpu(plain: str) -> str:
    """``TpuV5e``, ``Tpu-v3 Pod``, ``tpu-v5-lite-podslice``, ``v5litepod-8``, ``v6e-16``, ``ct6e-standard-4t``."""
    first = plain.partition(" ")[0]
    if first in _TPU_BY_WORD:
        return f"TPU {_TPU_BY_WORD[first]}"
    if re.search(r"\bv5 ?lite", plain):
        return "TPU v5e"
    match = re.match(r"tpu ?v?(\d[epx]?)\b", plain) or re.fullmatch(r"v(\d[epx]?) \d+", plain)
    return f"TPU v{'7x' if match[1] == '7' else match[1]}" if match else ""


def _graphics_card(plain: str, memory_gib: float | None) -> str:
    """``RTX 4070 Ti SUPER``, on a market also ``RTX 4070S Ti``; ``A6000`` for ``RTX A6000``."""
    if re.fullmatch(r"a\d{4}", plain) and plain[1:] in _WORKSTATION:
        return f"RTX {plain.upper()}"
    if plain in ("rtxpro", "rtx pro") and memory_gib and abs(memory_gib - 96) <= 96 / 10:
        return "RTX PRO 6000"
    if re.fullmatch(r"rtx ?6000", plain):
        near = [name for size, name in _RTX_6000_BY_GIB.items() if memory_gib and abs(memory_gib - size) <= size / 10]
        return near[0] if near else ""
    match = re.fullmatch(r"(rtx|gtx) ?(\d{3,4})((?: ?(?:ti|super|s|d|laptop|max q))*)", plain)
    if not match or match[2] in _WORKSTATION:
        return ""
    rest = match[3].split()
    parts = [match[1].upper(), match[2]]
    parts += ["Ti"] if "ti" in rest else []
    parts += ["SUPER"] if {"super", "s"} & set(rest) else []
    parts += ["D"] if "d" in rest else []
    parts += ["Laptop"] if {"laptop", "max"} & set(rest) else []
    return " ".join(parts)


def _other(plain: str) -> str:
    quadro = re.fullmatch(r"quadro ([kmp]\d{4})", plain)
    if quadro:
        return f"Quadro {quadro[1].upper()}"
    for pattern, spelling in _OTHERS:
        match = re.fullmatch(pattern, plain)
        if match:
            spelled = re.sub(r"^(RX|CMP) .*|(?<=^Arc ).*", lambda prefix: prefix[0].upper(), match.expand(spelling))
            return _CASED.get(spelled, spelled)
    return ""


_CASED = {
    "trainium": "Trainium",
    "trainium1": "Trainium",
    "trainium2": "Trainium2",
    "trainium3": "Trainium3",
    "inferentia": "Inferentia",
    "inferentia1": "Inferentia",
    "inferentia2": "Inferentia2",
    "TITAN v": "TITAN V",
    "TITAN rtx": "TITAN RTX",
    "TITAN xp": "TITAN Xp",
    "TITAN x": "TITAN X",
    "Radeon Pro v520": "Radeon Pro V520",
    "Radeon Pro v620": "Radeon Pro V620",
    "Radeon Pro v710": "Radeon Pro V710",
}
