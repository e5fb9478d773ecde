"""A writer of LLVM's intermediate language, and a compiler of it: just what `kernels` needs.

A kernel is written as text and compiled for this very processor at first use (tens of milliseconds). Vectors
are LLVM's generic ones, so that the same text serves every processor LLVM knows.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import llvmlite.binding as llvm

Kernel = Callable[..., int]
"""A compiled function: takes whole numbers and addresses, gives a whole number, and runs without the GIL."""

_OPTIMIZATION = 2
_CTYPES = {"i64": ctypes.c_int64, "ptr": ctypes.c_void_p}


@dataclass(frozen=True, slots=True)
class Processor:
    """What code is compiled for."""

    triple: str
    """LLVM's name of architecture and system: x86_64-unknown-linux-gnu."""
    name: str
    """LLVM's name of the model: haswell. Empty: any of the architecture."""
    features: frozenset[str]
    """Instruction sets beyond those of the architecture: avx2, avx512vnni, dotprod."""
    missing: frozenset[str] = frozenset()
    """Instruction sets that the model has but this one does not: a virtual machine may hide some."""

    @property
    def architecture(self) -> str:
        """First part of the triple: x86_64, aarch64, arm64."""
        return self.triple.split("-")[0]


def this_processor() -> Processor:
    """The processor this runs on."""
    found = llvm.get_host_cpu_features()
    features = frozenset(feature for feature, present in found.items() if present)
    missing = frozenset(found) - features
    return Processor(llvm.get_process_triple(), llvm.get_host_cpu_name(), features, missing)


class Function:
    """The text of one function: arguments `%name` of type i64 or ptr, and an i64 returned."""

    def __init__(self, name: str, **parameters: str) -> None:
        """Begin it. Parameters: name and type, in order."""
        self.name = name
        self.parameters = parameters
        self._lines: list[str] = []
        self._variables: list[str] = []
        self._named = 0
        self._block = "begin"

    def value(self, expression: str) -> str:
        """The name of a new value: the result of an instruction."""
        name = self._name("v")
        self._lines.append(f"{name} = {expression}")
        return name

    def do(self, instruction: str) -> None:
        """An instruction without a result."""
        self._lines.append(instruction)

    def variable(self, kind: str, initial: str) -> str:
        """The address of a new variable; it is set to `initial` wherever this is called."""
        name = self._name("x")
        self._variables.append(f"{name} = alloca {kind}")
        self.set(name, kind, initial)
        return name

    def space(self, kind: str) -> str:
        """The address of memory for a `kind`, at the start of a cache line, holding anything."""
        name = self._name("m")
        self._variables.append(f"{name} = alloca {kind}, align 64")
        return name

    def get(self, variable: str, kind: str) -> str:
        """What the variable holds."""
        return self.value(f"load {kind}, ptr {variable}")

    def set(self, variable: str, kind: str, value: str) -> None:
        """Give the variable a value."""
        self.do(f"store {kind} {value}, ptr {variable}")

    def at(self, base: str, kind: str, index: str) -> str:
        """The address of the element `index` of an array of `kind`."""
        return self.value(f"getelementptr {kind}, ptr {base}, i64 {index}")

    def load(self, base: str, kind: str, index: str, vector: str = "", align: int = 1) -> str:
        """The element `index` of an array of `kind`, or the `vector` that begins there."""
        return self.value(f"load {vector or kind}, ptr {self.at(base, kind, index)}, align {align}")

    def spread(self, kind: str, count: int, value: str) -> str:
        """A vector of `count` times the same value of type `kind`."""
        vector = f"<{count} x {kind}>"
        one = self.value(f"insertelement {vector} poison, {kind} {value}, i32 0")
        return self.value(f"shufflevector {vector} {one}, {vector} poison, <{count} x i32> zeroinitializer")

    def fetch(self, address: str) -> None:
        """The line of memory at the address is soon needed."""
        self.do(f"call void @llvm.prefetch.p0(ptr {address}, i32 0, i32 3, i32 1)")

    def label(self, name: str) -> None:
        """Begin a new block; the one before falls into it."""
        self.do(f"br label %{name}")
        self._lines.append(f"{name}:")
        self._block = name

    def give(self, value: str) -> None:
        """Return, where the code is reached."""
        self.do(f"ret i64 {value}")

    @contextlib.contextmanager
    def loop(self, first: str, end: str, step: int = 1) -> Iterator[str]:
        """Repeat for an index from `first` (i64) while it is below `end`; yields the index."""
        mark = self._name("l")[1:]
        before = self._block
        self.label(f"{mark}.head")
        index = f"%{mark}"
        self._lines.append(f"{index} = phi i64 [{first}, %{before}], [%{mark}.next, %{mark}.latch]")
        more = self.value(f"icmp slt i64 {index}, {end}")
        self._branch(more, f"{mark}.body", f"{mark}.end")
        yield index
        self.label(f"{mark}.latch")
        self.do(f"%{mark}.next = add i64 {index}, {step}")
        self.do(f"br label %{mark}.head")
        self._open(f"{mark}.end")

    @contextlib.contextmanager
    def when(self, condition: str) -> Iterator[None]:
        """Do what follows where the condition (i1) holds."""
        mark = self._name("c")[1:]
        self._branch(condition, f"{mark}.then", f"{mark}.end")
        yield
        if self._lines[-1].startswith("ret "):
            self._open(f"{mark}.end")
        else:
            self.label(f"{mark}.end")

    @contextlib.contextmanager
    def set_bits(self, bits: str, width: int) -> Iterator[str]:
        """Repeat for each set bit of `bits` (an integer of `width` bits); yields its place (i64)."""
        kind = f"i{width}"
        mark = self._name("b")[1:]
        left = self.variable(kind, bits)
        self.label(f"{mark}.head")
        now = self.get(left, kind)
        self._branch(self.value(f"icmp ne {kind} {now}, 0"), f"{mark}.body", f"{mark}.end")
        place = self.value(f"call {kind} @llvm.cttz.{kind}({kind} {now}, i1 true)")
        less = self.value(f"sub {kind} {now}, 1")
        self.set(left, kind, self.value(f"and {kind} {now}, {less}"))
        yield self.value(f"zext {kind} {place} to i64")
        self.do(f"br label %{mark}.head")
        self._open(f"{mark}.end")

    def text(self) -> str:
        """The whole definition."""
        parameters = ", ".join(f"{kind} %{name}" for name, kind in self.parameters.items())
        body = "\n  ".join(["start:", *self._variables, "br label %begin", "begin:", *self._lines])
        return f"define i64 @{self.name}({parameters}) {{\n  {body}\n}}\n"

    def _name(self, prefix: str) -> str:
        self._named += 1
        return f"%{prefix}{self._named}"

    def _branch(self, condition: str, then: str, otherwise: str) -> None:
        """Go to `then`, which begins here, or to `otherwise`."""
        self.do(f"br i1 {condition}, label %{then}, label %{otherwise}")
        self._open(then)

    def _open(self, name: str) -> None:
        self._lines.append(f"{name}:")
        self._block = name


class Program:
    """A function compiled for a processor. It lives as long as this object does."""

    def __init__(self, processor: Processor, function: Function, declarations: str) -> None:
        """Compile. declarations: the intrinsics that the function calls. Raises RuntimeError (LLVM's)."""
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        module, machine = _optimized(processor, function, declarations)
        self._engine: Any = llvm.create_mcjit_compiler(module, machine)
        self._engine.finalize_object()
        prototype = ctypes.CFUNCTYPE(
            ctypes.c_int64, *(_CTYPES[kind] for kind in function.parameters.values())
        )
        self.kernel: Kernel = prototype(self._engine.get_function_address(function.name))
        """The function, ready to be called."""


def assembler(processor: Processor, function: Function, declarations: str) -> str:
    """What the function becomes on a processor, as text; it may be another than this one."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    module, machine = _optimized(processor, function, declarations)
    text: str = machine.emit_assembly(module)
    return text


def _optimized(processor: Processor, function: Function, declarations: str) -> tuple[Any, Any]:
    """The optimized module, and the machine that it is for."""
    module = llvm.parse_assembly(declarations + function.text())
    module.triple = processor.triple
    features = [f"+{feature}" for feature in sorted(processor.features)]
    features += [f"-{feature}" for feature in sorted(processor.missing)]
    if "avx512f" in processor.features:
        # Where a processor has 512 bits, the kernels are worth their lower clock: they do nothing else.
        features.append("-prefer-256-bit")
    machine = llvm.Target.from_triple(processor.triple).create_target_machine(
        cpu=processor.name, features=",".join(features), opt=_OPTIMIZATION
    )
    module.data_layout = str(machine.target_data)
    options = llvm.create_pipeline_tuning_options(speed_level=_OPTIMIZATION)
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    return module, machine
