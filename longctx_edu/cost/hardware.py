"""How fast hardware can be at most: arithmetic, and bytes moved to and from its memory.

The roofline (Williams, Waterman and Patterson 2009): work takes at least as long as its
arithmetic at the highest published rate, and at least as long as its bytes at the highest
bandwidth. Real programs take longer, often twice as long; nothing here is a measurement.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Precision:
    """How numbers are kept, and in what they are multiplied.

    Attributes:
        weight_bytes: bytes of a weight.
        cache_bytes: bytes of a number in the KV cache.
        arithmetic: ``"float32"`` or ``"16-bit"``, in which matrices are multiplied. Weights of
            fewer bits are unpacked to it first, so they save bytes and no FLOPs.
    """

    weight_bytes: float
    cache_bytes: float
    arithmetic: str


PRECISIONS: Mapping[str, Precision] = MappingProxyType(
    {
        "float32": Precision(4, 4, "float32"),
        "16-bit": Precision(2, 2, "16-bit"),
        "8-bit weights": Precision(1, 2, "16-bit"),
        "4-bit weights": Precision(0.5, 2, "16-bit"),
    }
)
"""By name. The scales that groups of 8-bit or 4-bit weights share are left out."""


@dataclass(frozen=True)
class Hardware:
    """The highest rates of a machine.

    Attributes:
        name: such as ``"A100 80 GB"``.
        flops_per_second: by the arithmetic of a ``Precision``; dense, without sparsity.
        bytes_per_second: between its memory and its arithmetic.
        memory_bytes: that weights and cache may take.
        source: who says so.
    """

    name: str
    flops_per_second: Mapping[str, float]
    bytes_per_second: float
    memory_bytes: float
    source: str

    def least_seconds(self, *, flops: float, moved_bytes: float, arithmetic: str) -> float:
        """Return a bound from below on the seconds that work takes.

        Raises:
            ValueError: for an arithmetic whose rate is not known.
        """
        return max(
            self.arithmetic_seconds(flops, arithmetic=arithmetic),
            moved_bytes / self.bytes_per_second,
        )

    def arithmetic_seconds(self, flops: float, *, arithmetic: str) -> float:
        """Return the seconds of the arithmetic alone; see ``least_seconds``."""
        if arithmetic not in self.flops_per_second:
            raise ValueError(
                f"The rate of {self.name} in {arithmetic!r} is not known; there is "
                f"{', '.join(self.flops_per_second)}."
            )
        return flops / self.flops_per_second[arithmetic]


def _gpu(name: str, *, float32: float, half: float, gb_per_second: float, gb: int, source: str):
    rates = MappingProxyType({"float32": float32 * 1e12, "16-bit": half * 1e12})
    return Hardware(name, rates, gb_per_second * 1e9, gb * 1e9, source)


# TFLOP/s in float32 on the ordinary cores, and in 16 bits on the tensor cores with sums in
# float32. Where a data sheet states rates with sparsity, half of them is the dense rate.
GPUS: tuple[Hardware, ...] = (
    _gpu(
        "T4",
        float32=8.1,
        half=65,
        gb_per_second=320,
        gb=16,
        source="NVIDIA T4 Tensor Core GPU, product page, 2018",
    ),
    _gpu(
        "L4",
        float32=30.3,
        half=121,
        gb_per_second=300,
        gb=24,
        source="NVIDIA L4 Tensor Core GPU, data sheet, 2023",
    ),
    _gpu(
        "RTX 4090",
        float32=82.6,
        half=165.2,
        gb_per_second=1008,
        gb=24,
        source="NVIDIA Ada GPU Architecture, white paper, 2022, appendix A",
    ),
    _gpu(
        "A100 80 GB",
        float32=19.5,
        half=312,
        gb_per_second=2039,
        gb=80,
        source="NVIDIA A100 80 GB SXM, data sheet, 2021",
    ),
    _gpu(
        "H100",
        float32=67,
        half=989,
        gb_per_second=3350,
        gb=80,
        source="NVIDIA H100 SXM, data sheet, 2023",
    ),
)
"""GPUs that a reader is likely to meet, with their published rates."""
