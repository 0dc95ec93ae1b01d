"""A model's poolings run by poolkit, with the same results, and back again."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from types import CodeType
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch.nn import Module

from poolkit.errors import PoolError, PoolTypeError, flag, show
from poolkit.surgery import calls, twins
from poolkit.surgery.choice import Options, overlap
from poolkit.surgery.classes import bare, change
from poolkit.surgery.geometry import OURS, named_modules, parameters_of, poolings, settings_of, type_name
from poolkit.surgery.origin import put_back
from poolkit.surgery.tables import print_survey

if TYPE_CHECKING:
    from collections.abc import Iterator

M = TypeVar("M", bound=Module)
_CALLS = "calls in forward, if any"


@dataclass(frozen=True)
class Verdict:
    """What `accelerate` does with one pooling, or with the pooling calls of one module.

    Attributes:
        name: where it is in the model; "" is the model itself.
        type: its class, as ``torch.nn.MaxPool2d``.
        settings: its arguments that are not the default; for calls "calls in forward, if any".
        swapped: whether poolkit takes over.
        why: why it does not, or under which condition it does; may be empty.
    """

    name: str
    type: str
    settings: str
    swapped: bool
    why: str


def survey(model: Module, *, only_faster: bool = True, include_different: bool = False) -> tuple[Verdict, ...]:
    """What `accelerate` would do with a model, without doing it.

    Args:
        model: any module.
        only_faster: as for `accelerate`.
        include_different: as for `accelerate`.

    Raises:
        PoolTypeError: the model is no torch module.

    >>> import torch, poolkit.surgery
    >>> [v.swapped for v in poolkit.surgery.survey(torch.nn.Sequential(torch.nn.MaxPool2d(2), torch.nn.LPPool2d(2, 2)))]
    [True, False]
    """
    return tuple(verdict for verdict, _ in _plan(check_model(model), _options(only_faster, include_different)))


def accelerate(
    model: M,
    *,
    functional: bool = True,
    only_faster: bool = True,
    include_different: bool = False,
    quiet: bool = False,
) -> M:
    """Lets poolkit run the poolings of a model, in place and with the same results.

    Every pooling module of torch.nn changes its class to one that is torch.nn's and poolkit.nn's at once. It stays the
    same object, with its hooks, buffers, training flag, parametrizations and names. Pooling calls in a forward of the
    model's own, such as ``F.max_pool2d(x, 2)`` and ``x.mean((-2, -1))``, are taken over while that forward runs.
    Maxima and indices are torch's bit for bit, averages within 4 ulp. What is not a dense floating-point tensor on the
    CPU goes to torch, and so does, unless asked otherwise, what torch is known to do as fast.

    Copies, pickles, torch.compile (without a graph break), nn.DataParallel and training work as before. Programs traced
    for elsewhere (torch.export, torch.jit.trace, torch.fx, ONNX) hold torch's operators. Where that does not do,
    `restore` the model first: torch.jit.script does not compile what poolkit runs, torch.fx cannot trace an accelerated
    forward with keyword-only arguments, and a second derivative through a maximum (``create_graph=True``) is an error.

    Args:
        model: any module; wrappers (DataParallel, what torch.compile returns) are looked through.
        functional: also take over pooling calls in forward methods. Costs about a microsecond for each torch call of
            these; False leaves them alone.
        only_faster: leave a call to torch where poolkit is known to take as long, such as small or global averages;
            False takes over wherever the result is the same, which also keeps less memory for the backward pass.
        include_different: also take over what `docs/differences.md` lists as different: LPPool of negative numbers,
            the gradient of unpooling where windows overlap, the gradient of ``amax`` over equal cells, averages of
            half precision in 3-D.
        quiet: print nothing. Otherwise a table says what was swapped, and what could not be and why;
            `poolkit.surgery.survey` gives the same as records.

    Returns:
        The model itself.

    Raises:
        PoolTypeError: the model is no torch module, or a flag no bool.

    >>> import torch, poolkit as pk
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.MaxPool2d(2))
    >>> x = torch.rand(1, 3, 64, 64)
    >>> before = model(x)
    >>> model = pk.accelerate(model, quiet=True)
    >>> torch.equal(model(x), before), isinstance(model[1], pk.nn.MaxPool2d), isinstance(model[1], torch.nn.MaxPool2d)
    (True, True, True)
    >>> type(pk.restore(model)[1]) is torch.nn.MaxPool2d
    True
    """
    options = _options(only_faster, include_different)
    plan = _plan(check_model(model), options, functional=flag(functional, "functional"))
    flag(quiet, "quiet")
    for verdict, module in plan:
        if verdict.swapped:
            _intercept(module, options) if verdict.settings == _CALLS else twins.to_twin(module, options)
    if not quiet:
        print_survey(type_name(model), [verdict for verdict, _ in plan])
    return model


def restore(model: M) -> M:
    """Undoes `accelerate` and `swap`, in place: every module has its old class, every name its old module again.

    Returns:
        The model itself.

    Raises:
        PoolTypeError: the model is no torch module.
    """
    put_back(check_model(model))
    for module in model.modules():
        if twins.is_twin(module):
            twins.from_twin(module)
        elif isinstance(module, calls.Intercepting):
            change(module, cast(Any, bare(module)).poolkit_base)
            module.__dict__.pop("poolkit_options", None)
    return model


def check_model(model: object) -> Module:
    """`model` itself, or the error that says what it is instead of a module."""
    if isinstance(model, Module):
        return model
    what = "a class; call it first" if inspect.isclass(model) else f"{type(model).__name__}"
    raise PoolTypeError(f"model={show(model)}", f"model is a torch.nn.Module, here {what}", "pass a module")


def _options(only_faster: bool, include_different: bool) -> Options:
    return Options(flag(only_faster, "only_faster"), flag(include_different, "include_different"))


def _intercept(module: Module, options: Options) -> None:
    if not isinstance(module, calls.Intercepting):
        change(module, calls.intercepting(bare(module)))
    module.__dict__.pop("poolkit_options", None)
    if options != Options():
        module.__dict__["poolkit_options"] = options


def _plan(model: Module, options: Options, *, functional: bool = True) -> list[tuple[Verdict, Module]]:
    """What becomes of each pooling module, and of each module whose forward calls functions that pool."""
    callers = dict(_callers(model)) if functional else {}
    plan: list[tuple[Verdict, Module]] = []
    for name, module in poolings(model):
        swapped, why = _judge(module, options)
        if swapped or name not in callers:
            plan.append((Verdict(name, type_name(module), settings_of(module), swapped, why), module))
    plan += [
        (Verdict(name, type_name(module), _CALLS, swapped=True, why=""), module) for name, module in callers.items()
    ]
    if functional and _fixed(model):
        plan.append((Verdict("", type_name(model), _CALLS, swapped=False, why="a fixed graph"), model))
    return plan


def _judge(module: Module, options: Options) -> tuple[bool, str]:
    """Whether a pooling module is swapped, and why not or under which condition."""
    if isinstance(module, torch.jit.ScriptModule):
        return False, "compiled by torch.jit: a fixed graph"
    kind = twins.torch_class(module)
    if kind is None:
        if isinstance(module, OURS):
            return False, "poolkit's already"
        if isinstance(module, twins.POOLINGS):
            return False, "a subclass of torch.nn's: its forward may do something else"
        return False, "not one of torch.nn's"
    if "forward" in vars(module):
        return False, "its forward was replaced"
    settings = cast(Any, module)
    if kind.__name__.startswith("LPPool") and not options.include_different:
        return False, "poolkit takes |x|, torch does not: include_different=True swaps it"
    unpools = kind.__name__.startswith("MaxUnpool")
    if unpools and overlap(settings.kernel_size, settings.stride) and not options.include_different:
        return False, "windows overlap: another gradient for equal indices; include_different=True swaps it"
    why = _refusal(module, twins.poolkit_class(kind))
    if why:
        return False, why
    if unpools and options.only_faster:
        return True, "runs torch's kernel, which is faster"
    return True, ""


def _refusal(module: Module, ours: type[Any]) -> str:
    """Why poolkit does not take a module's settings; empty if it does."""
    given = {name: getattr(module, name) for name in parameters_of(ours) if hasattr(module, name)}
    try:
        ours(**given)
    except PoolError as error:
        return f"poolkit does not take its settings: {error.rule}"
    return ""


def _callers(model: Module) -> Iterator[tuple[str, Module]]:
    """The modules whose forward runs under an interception: the model, and inside of it whoever names a pooling call.

    Those inside as well, since a part of a model may be called without the whole: by a user, or by activation
    checkpointing, which calls it again during the backward pass.
    """
    prefix, whole = _unwrapped(model)
    written = [(name, module) for name, module in named_modules(whole) if _has_code(module)]
    if written and not _fixed(whole) and twins.torch_class(whole) is None:
        yield prefix, whole
    for name, module in written:
        if module is not whole and not _fixed(module) and _names_a_pooling(module):
            yield f"{prefix}.{name}" if prefix else name, module


def _fixed(module: Module) -> bool:
    """Whether a module is a program of its own, compiled or traced."""
    return isinstance(module, torch.jit.ScriptModule | torch.fx.GraphModule)


def _unwrapped(model: Module) -> tuple[str, Module]:
    """The model inside of wrappers that call it in other threads or compile it, and its name in them."""
    path: list[str] = []
    while True:
        if isinstance(model, torch.nn.DataParallel | torch.nn.parallel.DistributedDataParallel):
            name = "module"
        elif type(model).__module__ == "torch._dynamo.eval_frame":  # importing it to ask would take seconds
            name = "_orig_mod"
        else:
            return ".".join(path), model
        path.append(name)
        model = cast(Module, getattr(model, name))


def _has_code(module: Module) -> bool:
    """Whether a forward was written by somebody else than torch and poolkit: only such call functions that pool."""
    return not _home(module).startswith(("torch.nn.", "poolkit.nn.", "poolkit.surgery."))


def _home(module: Module) -> str:
    kind = bare(module)
    return cast(Any, kind).poolkit_base.__module__ if issubclass(kind, calls.Intercepting) else kind.__module__


def _names_a_pooling(module: Module) -> bool:
    """Whether a forward, or a method that it names, mentions a function that pools."""
    kind = type(module)
    names = ["forward"]
    seen: set[str] = set()
    while names:
        name = names.pop()
        if name in seen:
            continue
        seen.add(name)
        member = getattr(kind, name, None)
        code = getattr(inspect.unwrap(member) if callable(member) else None, "__code__", None)
        if not isinstance(code, CodeType) or (hasattr(Module, name) and name != "forward"):
            continue
        codes = [code]
        while codes:
            code = codes.pop()
            if not calls.NAMES.isdisjoint(code.co_names):
                return True
            names += code.co_names
            codes += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return False
