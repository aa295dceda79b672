"""What a model's reading costs, by its shape: work, memory, and the least time on some hardware.

``CostExplorer`` puts sliders on ``longctx_edu.cost``: nothing is computed in the browser, which
asks here for each shape. Times on GPUs are bounds by published rates (the roofline, Williams,
Waterman and Patterson 2009); those of this machine by rates measured when one asks for them.
"""

from dataclasses import fields
from functools import cache
from math import inf

import traitlets

from longctx_edu.cost import (
    EMBEDDED_MODEL,
    GPUS,
    KNOWN_MODELS,
    PRECISIONS,
    Architecture,
    Estimate,
    Hardware,
    attention_flops,
    crossover_tokens,
    estimate,
)
from longctx_edu.errors import LongctxError
from longctx_edu.widgets.base import View
from longctx_edu.widgets.units import amount

SHAPE = ("layers", "heads", "kv_heads", "head_dim")
GIVEN = "given model"
EVERYTHING = 0  # as a window

_STOPS = {
    "tokens": [2**n for n in range(5, 21)],
    "layers": [1, 2, 4, 6, 8, 12, 16, 20, 24, 28, 32, 40, 48, 64, 80, 96, 128],
    "heads": [1, 2, 3, 4, 6, 8, 9, 12, 16, 20, 24, 32, 40, 48, 64, 96, 128],
    "head_dim": [16, 32, 48, 64, 80, 96, 128, 192, 256],
    "window": [64, 128, 256, 512, 1024, 2048, 4096, 8192, 32768, EVERYTHING],
}


class CostExplorer(View):
    """Sliders for a decoder's shape and a text's length, and what reading the text costs then.

    It shows FLOPs by what they are spent on, bytes of weights and KV cache, the length from
    which on attention costs more than the linear layers, and the least seconds on some GPUs
    and on this machine. Every slider is a trait that Python may set and read.

    Width and MLP follow ``heads · head_dim``, see ``Architecture.resized``. A window of 0
    means that every layer sees all; another one goes into the layers that had one in the
    preset, or into all if none had.

    Args:
        model: a name of ``longctx_edu.cost.KNOWN_MODELS``, an ``Architecture``, or anything of
            which ``Architecture.of`` reads one, such as a loaded model; without it, the
            course's embedded model.
        tokens: length of the text, up to 2**30.
        precision: a name of ``longctx_edu.cost.PRECISIONS``.
        machine: this machine's rates, if they are known; else ``measure`` finds them.
        theme: ``auto``, ``light`` or ``dark``.
        shape: other ``layers``, ``heads``, ``kv_heads``, ``head_dim``, ``window`` than the
            model's.

    Raises:
        traitlets.TraitError: for a preset, a precision or a size that there is not.
        ValueError: for a model whose cost its shape does not decide.
    """

    _part = "cost"

    preset = traitlets.Unicode().tag(sync=True)
    tokens = traitlets.Int(8192, min=1, max=2**30).tag(sync=True)
    layers = traitlets.Int(1, min=1, max=1024).tag(sync=True)
    heads = traitlets.Int(1, min=1, max=1024).tag(sync=True)
    kv_heads = traitlets.Int(1, min=1, max=1024).tag(sync=True)
    head_dim = traitlets.Int(1, min=1, max=4096).tag(sync=True)
    window = traitlets.Int(EVERYTHING, min=0, max=2**30).tag(sync=True)
    precision = traitlets.Enum(list(PRECISIONS), default_value="float32").tag(sync=True)
    machine = traitlets.Dict().tag(sync=True)
    """The fields of ``Hardware``, or nothing while this machine is not measured."""

    presets = traitlets.Dict().tag(sync=True)  # the shape of each, and its window
    precisions = traitlets.List(list(PRECISIONS)).tag(sync=True)
    stops = traitlets.Dict().tag(sync=True)  # values of each slider
    hardware = traitlets.List([[gpu.name, gpu.source] for gpu in GPUS]).tag(sync=True)

    def __init__(
        self,
        model=None,
        *,
        tokens: int = 8192,
        precision: str = "float32",
        machine: Hardware | None = None,
        theme: str = "auto",
        **shape: int,
    ):
        self._bases = dict(KNOWN_MODELS)
        preset = EMBEDDED_MODEL if model is None else model
        if not isinstance(preset, str):
            given = model if isinstance(model, Architecture) else Architecture.of(model)
            self._bases[GIVEN] = given
            preset = GIVEN
        unknown = sorted(set(shape) - {*SHAPE, "window"})
        if unknown:
            raise TypeError(f"CostExplorer takes no {', '.join(unknown)}.")
        presets = {name: _shape_of(base) for name, base in self._bases.items()}
        super().__init__(
            presets=presets,
            tokens=tokens,
            precision=precision,
            machine={} if machine is None else _held(machine),
            theme=theme,
            preset=preset,
            **{**presets.get(preset, {}), **shape},
        )
        self._place_stops()
        self.observe(self._take_preset, names="preset")
        self.observe(self._keep_shared, names="heads")
        self.observe(self._place_stops, names=["tokens", "window", *SHAPE])

    # ----------------------------------------------------------------- state

    @traitlets.validate("preset")
    def _known_preset(self, proposal):
        if proposal["value"] not in self._bases:
            raise traitlets.TraitError(
                f"There is no preset {proposal['value']!r}; choose one of "
                f"{', '.join(self._bases)}, or give an Architecture."
            )
        return proposal["value"]

    @traitlets.validate("kv_heads")
    def _shared_evenly(self, proposal):
        if self.heads % proposal["value"]:
            raise traitlets.TraitError(
                f"{proposal['value']} KV heads cannot be shared evenly by {self.heads} heads; "
                f"choose one of {', '.join(map(str, _divisors(self.heads)))}."
            )
        return proposal["value"]

    @traitlets.validate("machine")
    def _whole_machine(self, proposal):
        if proposal["value"]:
            _hardware(proposal["value"])
        return proposal["value"]

    def _take_preset(self, _) -> None:
        with self.hold_sync(), self.hold_trait_notifications():
            for name, value in self.presets[self.preset].items():
                setattr(self, name, value)

    def _keep_shared(self, _) -> None:
        """Take the nearest number of KV heads below that the heads can share."""
        self.kv_heads = max(n for n in _divisors(self.heads) if n <= self.kv_heads)

    def _place_stops(self, _=None) -> None:
        """Let the sliders stop at the usual values, the preset's, and the present ones."""
        now = {name: getattr(self, name) for name in ("tokens", "window", *SHAPE)}
        self.stops = _stops(now, self.presets[self.preset])

    def measure(self) -> Hardware:
        """Measure this machine in about a second, show it, and return its rates."""
        from longctx_edu.evaluation.machine_speed import measure_machine

        measured = measure_machine()
        self.machine = _held(measured)
        return measured

    # ----------------------------------------------------------------- what it costs

    @property
    def architecture(self) -> Architecture:
        """The shape that is shown now."""
        return self._architecture(**self._asked())

    @property
    def estimate(self) -> Estimate:
        """What reading ``tokens`` tokens costs now."""
        return estimate(self.architecture, self.tokens, PRECISIONS[self.precision])

    @property
    def machines(self) -> list[Hardware]:
        """This machine, if it was measured, and the GPUs."""
        return [*([_hardware(self.machine)] if self.machine else []), *GPUS]

    def _asked(self) -> dict:
        return {name: getattr(self, name) for name in ("preset", "window", *SHAPE)}

    def _architecture(self, *, preset: str, window: int, **shape: int) -> Architecture:
        base = self._bases[preset].resized(**shape)
        return base.with_window(window or None)

    def answer(self, ask: dict) -> tuple[dict, list[bytes]]:
        """Answer what a shape costs at every stop of the length, or measure this machine.

        Raises:
            LongctxError: for a shape or a precision that there is not.
        """
        match ask:
            case {"op": "measure"}:
                self.measure()
                return {}, []
            case {"op": "cost", "precision": str(precision), **shape} if precision in PRECISIONS:
                try:
                    architecture = self._architecture(**shape)
                except (KeyError, TypeError, ValueError) as error:
                    raise LongctxError(f"There is no such shape: {error}") from error
                return self._costs(architecture, precision), []
        return super().answer(ask)

    def _costs(self, architecture: Architecture, precision: str) -> dict:
        at = [
            estimate(architecture, tokens, PRECISIONS[precision]) for tokens in self.stops["tokens"]
        ]
        crossing = crossover_tokens(architecture)
        machines = self.machines
        return {
            "tokens": [one.tokens for one in at],
            "prefill": _columns([one.prefill for one in at]),
            "decode": _columns([one.decode for one in at]),
            "weights": at[0].weight_bytes,
            "cache": [_short(one.cache_bytes) for one in at],
            "crossover": None
            if crossing == inf
            else [crossing, _short(attention_flops(architecture, crossing))],
            "width": architecture.hidden,
            "intermediate": architecture.intermediate,
            "parameters": architecture.weights,
            "windowed": sum(window is not None for window in architecture.windows),
            "seconds": [_seconds([one.on(machine) for one in at]) for machine in machines],
        }

    # ----------------------------------------------------------------- what it says

    def describe(self) -> str:
        """Say what reading the text costs, and where attention overtakes the linear layers."""
        now = self.estimate
        total = now.prefill.total
        parts = ", ".join(
            f"{100 * part / total:.0f} % {name}"
            for name, part in (
                ("linear layers", now.prefill.linear),
                ("attention", now.prefill.attention),
                ("LM head", now.prefill.lm_head),
            )
        )
        crossing = crossover_tokens(self.architecture)
        overtakes = (
            "attention never overtakes the linear layers"
            if crossing == inf
            else f"attention overtakes the linear layers at {crossing:,} tokens"
        )
        return (
            f"Reading {self.tokens:,} tokens with {self._name()} takes {amount(total, 'FLOP')} "
            f"({parts}) and {amount(now.weight_bytes, 'B')} of weights and "
            f"{amount(now.cache_bytes, 'B')} of KV cache in {self.precision}; {overtakes}"
        )

    def _name(self) -> str:
        """Name the preset, and what is not as it was there."""
        names = dict(layers="layers", heads="heads", kv_heads="KV heads", head_dim="numbers a head")
        base = self.presets[self.preset]
        changed = [
            f"{getattr(self, one)} {names[one]}" for one in SHAPE if getattr(self, one) != base[one]
        ]
        if self.window != base["window"]:
            changed.append(f"a window of {self.window:,}" if self.window else "no window")
        return f"{self.preset} with {', '.join(changed)}" if changed else self.preset

    def picture(self):
        """Draw the FLOPs over the length, beside the least seconds to read the text."""
        from longctx_edu.widgets.cost_picture import draw_costs

        lengths = self.stops["tokens"]
        architecture = self.architecture
        return draw_costs(
            [estimate(architecture, n, PRECISIONS[self.precision]) for n in lengths],
            now=self.estimate,
            crossover=crossover_tokens(architecture),
            bounds={one.name: self.estimate.on(one) for one in self.machines},
            title=self._name(),
        )

    # ----------------------------------------------------------------- files

    def variants(self):
        """A saved file holds every preset, and this shape in place of its own preset's."""
        found = {}
        for name, preset in self.presets.items():
            shape = {size: preset[size] for size in SHAPE}
            stops = _stops({**preset, "tokens": self.tokens}, preset)
            found[(name,)] = {**shape, "stops": stops}
        found[(self.preset,)] = {name: getattr(self, name) for name in (*SHAPE, "stops")}
        return ["preset"], found

    def saved_asks(self):
        """A saved file holds every window and precision of its presets, at every length."""
        return [
            dict(
                op="cost",
                preset=preset,
                precision=precision,
                window=window,
                **{name: state[name] for name in SHAPE},
            )
            for (preset,), state in self.variants()[1].items()
            for window in state["stops"]["window"]
            for precision in PRECISIONS
        ]


def _shape_of(architecture: Architecture) -> dict[str, int]:
    shape = {name: getattr(architecture, name) for name in SHAPE}
    return {**shape, "window": architecture.window or EVERYTHING}


def _stops(now: dict[str, int], base: dict[str, int]) -> dict[str, list[int]]:
    stops = {
        name: sorted({*usual, now[name], base.get(name, now[name])})
        for name, usual in _STOPS.items()
    }
    # All comes last: it is more than any number.
    stops["window"] = [*(window for window in stops["window"] if window), EVERYTHING]
    return {**stops, "kv_heads": _divisors(now["heads"])}


@cache
def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]


def _held(machine: Hardware) -> dict:
    held = {one.name: getattr(machine, one.name) for one in fields(Hardware)}
    return {**held, "flops_per_second": dict(machine.flops_per_second)}


def _hardware(held: dict) -> Hardware:
    try:
        machine = Hardware(**held)
        rates = [machine.flops_per_second[one.arithmetic] for one in PRECISIONS.values()]
        if min(*rates, machine.bytes_per_second, machine.memory_bytes) > 0:
            return machine
    except (KeyError, TypeError) as error:
        raise traitlets.TraitError(
            f"machine holds the fields of longctx_edu.cost.Hardware, and {error} does not fit; "
            "call measure(), or give a Hardware."
        ) from error
    raise traitlets.TraitError("A machine's rates and its memory are more than 0.")


def _columns(flops) -> dict:
    return {
        "linear": [_short(one.linear) for one in flops],
        "attention": [_short(one.attention) for one in flops],
        "lm_head": flops[0].lm_head,
    }


def _seconds(bounds) -> dict:
    return {
        "prefill": [_short(one.prefill) for one in bounds],
        "decode": [_short(one.decode) for one in bounds],
        "computes": [int(one.prefill_limit == "arithmetic") for one in bounds],
        "holds": [int(one.holds) for one in bounds],
    }


def _short(number: float) -> float:
    """Keep six digits, which is more than is shown and makes a saved file small."""
    short = float(f"{number:.6g}")
    return int(short) if short.is_integer() else short
