"""Other poolings in the places of a model's own, all or none of them."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, TypeVar, cast

from torch.nn import Module

from poolkit.errors import PoolError, PoolTypeError, flag, show
from poolkit.surgery.acceleration import check_model
from poolkit.surgery.building import build, named_class
from poolkit.surgery.geometry import is_pooling, named_modules, settings_of
from poolkit.surgery.origin import put
from poolkit.surgery.tables import print_table
from poolkit.surgery.trial import Seen, Template, check_shapes, observe, placement

M = TypeVar("M", bound=Module)
Target = str | type[Any] | Module | Callable[[str, Module], Module | None]
Rule = Callable[[str, Module], Module | None]

_HOOKS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
)


@dataclass
class _Site:
    """One module that is to go, under all its names, and what was seen of it."""

    names: list[str]
    old: Module
    target: Target | None = None
    new: Module | None = None
    calls: list[Seen] = field(default_factory=list[Seen])

    @property
    def name(self) -> str:
        return self.names[0]

    @property
    def channels(self) -> int | None:
        """Of the first input seen."""
        first = self.calls[0].arguments[:1] if self.calls else ()
        return next((x.shape[1] for x in first if isinstance(x, Template) and len(x.shape) > 2), None)


def swap(model: M, rules: Mapping[Any, Target] | Rule, *, example: Any = None, quiet: bool = False) -> M:
    """Replaces poolings of a model by others, in place: all that the rules name, or none.

    A replacement given by name or class keeps the geometry of what it replaces: kernel_size, stride, padding, dilation,
    ceil_mode, return_indices, or output_size. One that cannot is an error. Every replacement takes over the training
    flag, the hooks, and the dtype and device of the model's parameters. `restore` brings the old modules back.

    Args:
        model: any module.
        rules: what goes, and what comes. Either a mapping from

            - a qualified name, ``"stem.pool"``,
            - a pattern of names, ``"stage?.*"``,
            - a class name, ``"MaxPool2d"``, or a class

            (the former win over the latter) to

            - a name of `poolkit.nn`, ``"MaxBlurPool2d"``, or any module class,
            - a module; if the rule names several poolings, the further ones get copies,
            - a function ``(name, module)`` that returns a module, or None to leave this one;

            or one such function, asked for every module of the model.
        example: an input: a tensor, a tuple of positional or a dict of keyword arguments. With it, the model runs once
            (in evaluation mode, without gradients), classes that need a number of channels get it, and the output
            shapes of every replacement are compared with those of what it replaces.
        quiet: print nothing; otherwise a table of what was replaced.

    Returns:
        The model itself.

    Raises:
        PoolError: a rule names nothing, a replacement does not keep the geometry or gives another shape, or the model
            itself is what a rule names. The model is as it was.
        PoolTypeError: an argument has a wrong type.

    >>> import torch, poolkit as pk
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.MaxPool2d(3, 2, 1))
    >>> pk.swap(model, {"MaxPool2d": "SoftPool2d"}, example=torch.rand(1, 3, 32, 32), quiet=True)[1]
    SoftPool2d(kernel_size=3, stride=2, padding=1, dilation=1, ceil_mode=False, beta=1.0)
    """
    sites = _all_sites(check_model(model))
    flag(quiet, "quiet")
    if isinstance(rules, Mapping):
        chosen = _by_mapping(sites, cast("Mapping[Any, Target]", rules))
        if not chosen and not any(is_pooling(module) for module in model.modules()):
            if not quiet:
                print_table(f"{type(model).__name__} has no pooling: nothing to swap", (), ())
            return model
    elif callable(rules):
        chosen = _by_function(sites, rules)
    else:
        raise PoolTypeError(
            f"rules={show(rules)}",
            f"rules is a mapping or a function, here {type(rules).__name__}",
            'pass for example {"MaxPool2d": "SoftPool2d"}',
        )
    if example is not None:
        seen = observe(model, [site.old for site in chosen], example)
        for site in chosen:
            site.calls = seen[site.old]
    _build_all(chosen)
    placed = placement(model)
    for site in chosen:
        new = cast(Module, site.new)
        gave = f"{site.name}: {type(new).__name__} in place of {type(site.old).__name__}({settings_of(site.old)})"
        check_shapes(new, site.calls, placed, gave)
    for site in chosen:
        _settle(model, site, placed)
    if not quiet:
        _print(model, chosen, observed=example is not None)
    return model


def _all_sites(model: Module) -> list[_Site]:
    """Every module of a model under all its names, the model first."""
    sites: dict[Module, _Site] = {}
    for name, module in named_modules(model):
        sites.setdefault(module, _Site([], module)).names.append(name)
    return list(sites.values())


def _by_mapping(sites: list[_Site], rules: Mapping[Any, Target]) -> list[_Site]:
    """The sites that rules name, each with the target of the strongest rule."""
    pools = [site for site in sites if is_pooling(site.old) and not _inside_a_pooling(site, sites)]
    ranked: list[tuple[int, Any, Target, list[_Site]]] = []
    for key, target in rules.items():
        _check_target(key, target)
        exact = [site for site in sites if isinstance(key, str) and key in site.names]
        if exact:
            ranked.append((0, key, target, exact))
        elif isinstance(key, str) and any(sign in key for sign in "*?["):
            ranked.append((1, key, target, [s for s in pools if any(fnmatchcase(name, key) for name in s.names)]))
        elif isinstance(key, str):
            ranked.append((2, key, target, [site for site in pools if type(site.old).__name__ == key]))
        elif isinstance(key, type):
            ranked.append((2, key, target, [site for site in sites if isinstance(site.old, cast("type[Any]", key))]))
        else:
            raise PoolTypeError(
                f"rules={{{show(key)}: ...}}",
                f"a rule's key is a name or a class, here {type(key).__name__}",
                "pass one",
            )
    for _, key, _, matched in ranked:
        if not matched and pools:
            raise _nothing(key, pools)
    for _, key, target, matched in sorted(ranked, key=lambda row: row[0]):
        for site in matched:
            if site.target is None:
                _refuse_root(site, key)
                site.target = target
    return [site for site in sites if site.target is not None]


def _inside_a_pooling(site: _Site, sites: list[_Site]) -> bool:
    return any(
        other.old is not site.old and is_pooling(other.old) and site.old in set(other.old.modules()) for other in sites
    )


def _check_target(key: Any, target: object) -> None:
    if isinstance(target, str):
        named_class(target)
    elif not isinstance(target, Module) and not callable(target):
        raise PoolTypeError(
            f"rules={{{show(key)}: {show(target)}}}",
            f"a replacement is a name, a module class, a module or a function, here {type(target).__name__}",
            'pass for example "SoftPool2d" or nn.SoftPool2d(2)',
        )


def _nothing(key: Any, pools: list[_Site]) -> PoolError:
    names = [name for site in pools for name in site.names]
    near = difflib.get_close_matches(str(key), [*names, *{type(site.old).__name__ for site in pools}], 3)
    have = ", ".join(f"{site.name} ({type(site.old).__name__})" for site in pools[:6])
    more = f" and {len(pools) - 6} more" if len(pools) > 6 else ""
    return PoolError(
        f"rules={{{show(key)}: ...}}",
        f"a rule names a pooling of the model, which has {have}{more}",
        f"did you mean {', '.join(near)}?" if near else "poolkit.find_pools lists them",
    )


def _refuse_root(site: _Site, key: Any) -> None:
    if "" in site.names:
        raise PoolError(
            f"rules={{{show(key)}: ...}}",
            "what is swapped is a part of the model, here the model itself",
            "use the new module in its place",
        )


def _by_function(sites: list[_Site], rule: Rule) -> list[_Site]:
    chosen: list[_Site] = []
    gone: set[Module] = set()
    for site in sites[1:]:
        if site.old in gone:
            continue
        new = _asked(rule, site)
        if new is None or new is site.old:
            continue
        site.new = new
        chosen.append(site)
        gone.update(site.old.modules())
    if not chosen:
        raise PoolError(
            f"rules={show(rule)}",
            "a rule replaces at least one module, here it returned None for all",
            "look at its test",
        )
    return chosen


def _asked(rule: Callable[..., Any], site: _Site) -> Module | None:
    new = rule(site.name, site.old)
    if new is not None and not isinstance(new, Module):
        raise PoolTypeError(
            f"{site.name}: {show(new)} from the rule",
            f"a rule returns a torch.nn.Module or None, here {type(new).__name__}",
            "return a module",
        )
    return new


def _build_all(chosen: list[_Site]) -> None:
    used: set[int] = set()
    for site in list(chosen):
        target = site.target
        if isinstance(target, Module):
            site.new = copy.deepcopy(target) if id(target) in used else target
            used.add(id(target))
        elif isinstance(target, str | type):
            kind = named_class(target) if isinstance(target, str) else target
            site.new = build(kind, site.old, site.name, site.channels)
        elif target is not None:
            site.new = _asked(target, site)
        if site.new is None:
            chosen.remove(site)


def _settle(model: Module, site: _Site, placed: Mapping[str, Any]) -> None:
    new = cast(Module, site.new)
    new.to(**placed)
    new.train(site.old.training)
    mine, theirs = new.__dict__, site.old.__dict__
    if any(mine[name] for name in _HOOKS):
        for name in _HOOKS:
            mine[name].update(theirs[name])
    else:  # the same dictionaries, so that a handle given out still removes its hook
        for name in _HOOKS:
            mine[name] = theirs[name]
    mine["_is_full_backward_hook"] = theirs["_is_full_backward_hook"] or mine["_is_full_backward_hook"]
    put(model, site.old, new)


def _print(model: Module, chosen: list[_Site], *, observed: bool) -> None:
    rows = [
        (
            ", ".join(site.names),
            f"{type(site.old).__name__}({settings_of(site.old)})",
            f"{type(site.new).__name__}({settings_of(cast(Module, site.new))})",
            "" if not observed else "same shape" if site.calls else "not reached by the example",
        )
        for site in chosen
    ]
    print_table(f"{type(model).__name__}: {len(chosen)} swapped", ("name", "was", "is", ""), rows)
