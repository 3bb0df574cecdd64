"""The hardware of Azure's GPU sizes, from its documentation: the price API lacks it, and the SKU API errs on some.

(It leaves the GPUs of the newest ND sizes out, and counts a sixth of an A10 as one.)
"""

from __future__ import annotations

from epochcost.model import InstanceFacts
from epochcost.prices.gpu_model import canonical
from epochcost.prices.json_fields import gib

PROVIDER = "azure"
_SIZES = """
nc6               1   K80       12    6     56
nc12              2   K80       12   12    112
nc24              4   K80       12   24    224
nc24r             4   K80       12   24    224
nc6s_v2           1   P100      16    6    112
nc12s_v2          2   P100      16   12    224
nc24s_v2          4   P100      16   24    448
nc24rs_v2         4   P100      16   24    448
nd6s              1   P40       24    6    112
nd12s             2   P40       24   12    224
nd24s             4   P40       24   24    448
nd24rs            4   P40       24   24    448
nc6s_v3           1   V100      16    6    112
nc12s_v3          2   V100      16   12    224
nc24s_v3          4   V100      16   24    448
nc24rs_v3         4   V100      16   24    448
nd40rs_v2         8   V100      32   40    672
nc4as_t4_v3       1   T4        16    4     28
nc8as_t4_v3       1   T4        16    8     56
nc16as_t4_v3      1   T4        16   16    110
nc64as_t4_v3      4   T4        16   64    440
nc24ads_a100_v4   1   A100      80   24    220
nc48ads_a100_v4   2   A100      80   48    440
nc96ads_a100_v4   4   A100      80   96    880
nc40ads_h100_v5   1   H100      94   40    320
nc80adis_h100_v5  2   H100      94   80    640
ncc40ads_h100_v5  1   H100      94   40    320
nd96asr_v4        8   A100      40   96    900
nd96amsr_a100_v4  8   A100      80   96   1900
nd96isr_h100_v5   8   H100      80   96   1900
nd96isr_h200_v5   8   H200     141   96   1850
nd96isr_mi300x_v5 8   MI300X   192   96   1850
nd96is_mi300x_v5  8   MI300X   192   96   1850
nd96is_h100_v5    8   H100      80   96   1900
nd128isr_ndr_gb200_v6 4 GB200    -  128      -
nd128isr_gb200_v6 4   GB200      -  128      -
nd128isr_gb300_v6 4   GB300      -  128      -
nv6               1   M60        8    6     56
nv12              2   M60        8   12    112
nv24              4   M60        8   24    224
nv12s_v3          1   M60        8   12    112
nv24s_v3          2   M60        8   24    224
nv48s_v3          4   M60        8   48    448
nv6ads_a10_v5     1/6 A10       24    6     55
nv12ads_a10_v5    1/3 A10       24   12    110
nv18ads_a10_v5    1/2 A10       24   18    220
nv36ads_a10_v5    1   A10       24   36    440
nv36adms_a10_v5   1   A10       24   36    880
nv72ads_a10_v5    2   A10       24   72    880
nc8ads_a10_v4     -   A10       24    8     55
nc16ads_a10_v4    -   A10       24   16    110
nc32ads_a10_v4    -   A10       24   32    220
nv4as_v4          1/8 MI25      16    4     14
nv8as_v4          1/4 MI25      16    8     28
nv16as_v4         1/2 MI25      16   16     56
nv32as_v4         1   MI25      16   32    112
nv4ads_v710_v5    1/6 V710      24    4      -
nv8ads_v710_v5    1/3 V710      24    8      -
nv12ads_v710_v5   1/2 V710      24   12      -
nv24ads_v710_v5   1   V710      24   24      -
nv28adms_v710_v5  1   V710      24   28      -
ng8ads_v620_v1    1/4 V620      32    8     16
ng16ads_v620_v1   1/2 V620      32   16     32
ng32ads_v620_v1   1   V620      32   32     64
ng32adms_v620_v1  1   V620      32   32    176
nc24lds_xl_rtxpro6000bse_v6   1/4 RTX_PRO_6000 96 24  -
nc36lds_xl_rtxpro6000bse_v6   1/4 RTX_PRO_6000 96 36 72
nc36ds_xl_rtxpro6000bse_v6    1/4 RTX_PRO_6000 96 36  -
nc72lds_xl_rtxpro6000bse_v6   1/2 RTX_PRO_6000 96 72  -
nc72ds_xl_rtxpro6000bse_v6    1/2 RTX_PRO_6000 96 72  -
nc128lds_xl_rtxpro6000bse_v6  1   RTX_PRO_6000 96 128 -
nc128ds_xl_rtxpro6000bse_v6   1   RTX_PRO_6000 96 128 512
nc144lds_xl_rtxpro6000bse_v6  1   RTX_PRO_6000 96 144 -
nc144ds_xl_rtxpro6000bse_v6   1   RTX_PRO_6000 96 144 -
nc256lds_xl_rtxpro6000bse_v6  2   RTX_PRO_6000 96 256 -
nc256ds_xl_rtxpro6000bse_v6   2   RTX_PRO_6000 96 256 1024
nc288lds_xl_rtxpro6000bse_v6  2   RTX_PRO_6000 96 288 -
nc288ds_xl_rtxpro6000bse_v6   2   RTX_PRO_6000 96 288 -
nc320lds_xl_rtxpro6000bse_v6  2   RTX_PRO_6000 96 320 -
nc320ds_xl_rtxpro6000bse_v6   2   RTX_PRO_6000 96 320 1280
"""
"""Size, GPUs, model, GiB of one whole GPU, vCPUs, GiB of memory; - where the documentation was not clear."""
SIZES = frozenset(line.split()[0] for line in _SIZES.strip().splitlines())
"""In lower case, without ``Standard_``."""
_BY_NAME = {line.split()[0]: line.split()[1:] for line in _SIZES.strip().splitlines()}


def size_facts(instance_type: str) -> InstanceFacts | None:
    """What ``Standard_NC4as_T4_v3`` holds; None for a size outside the table."""
    size = _BY_NAME.get(instance_type.lower().removeprefix("standard_"))
    if size is None:
        return None
    gpus, model, gpu_gib, vcpus, memory_gib = size
    whole, _, parts = gpus.partition("/")  # how many GPUs the NC A10 v4 sizes have, public sources do not agree on
    gpu_memory_bytes = gib(_known(gpu_gib))
    return InstanceFacts(
        provider=PROVIDER,
        instance_type=instance_type,
        gpu_model=canonical(model, gpu_memory_bytes),
        gpus=None if gpus == "-" else float(whole) / float(parts or 1),
        gpu_memory_bytes=gpu_memory_bytes,
        vcpus=_known(vcpus),
        memory_bytes=gib(_known(memory_gib)),
    )


def _known(figure: str) -> float | None:
    return None if figure == "-" else float(figure)
