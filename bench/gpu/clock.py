"""How calls on a GPU are timed: by its own events, with the host ahead of it."""

from collections.abc import Callable, Mapping
from statistics import median
from time import monotonic, perf_counter

import torch

CACHE = 256 * 2**20  # bytes, more than any second cache
FEWEST = 5
MOST_FILLS = 64
TINY_CALLS = 200
Call = Callable[[], object]


class Clock:
    """Times calls on one device.

    Before a sample the GPU reads more memory than its second cache holds: what the call needs is not in it, and nothing
    is left there that the call would have to write back. It does so several times over where one reading ends before
    the host has launched the call: else the sample would count the host's time. `late` names the calls for which no
    number of readings was enough, because they wait for the GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self.gpu = device.type != "cpu"
        self.late: set[str] = set()
        self.rates: list[float] = []  # of all copies so far
        other = torch.zeros(CACHE // 4 if self.gpu else 4, device=device)
        self._fill: Call = other.amax
        self._fills: dict[str, int] = {}
        source = torch.ones(2**27 if self.gpu else 2**12, device=device)
        to = torch.empty_like(source)
        self._copied = 2 * source.nbytes
        self._copy: Call = lambda: to.copy_(source)

    def medians(self, calls: Mapping[str, Call], rounds: int, seconds: float) -> tuple[dict[str, float], float]:
        """Milliseconds of each call, in turns, and the bytes a millisecond, read and written, of a copy beside them.

        A call that would take longer than `seconds` has fewer samples.
        """
        self._fills = {}
        self.late.clear()
        everything = {"copy": self._copy, **calls}
        samples: dict[str, list[float]] = {name: [] for name in everything}
        spent = dict.fromkeys(everything, 0.0)
        for _ in range(rounds if self.gpu else 1):
            for name, call in everything.items():
                if len(samples[name]) < FEWEST or spent[name] < seconds:
                    begin = monotonic()
                    samples[name].append(self._sample(name, call) if self.gpu else elapsed_ms(call))
                    spent[name] += monotonic() - begin
        ms = {name: median(times) for name, times in samples.items()}
        self.rates.append(self._copied / ms.pop("copy"))
        return ms, self.rates[-1]

    def _sample(self, name: str, call: Call) -> float:
        fills = self._fills.setdefault(name, 2)
        while True:
            for _ in range(fills):
                self._fill()
            begin, end = self._events()
            begin.record()
            call()
            end.record()
            ahead = not begin.query()
            end.synchronize()
            if ahead or fills >= MOST_FILLS or name in self.late:
                break
            fills = self._fills[name] = 2 * fills
        if not ahead:
            self.late.add(name)
            self._fills[name] = 2  # more are of no use
        return begin.elapsed_time(end)

    @staticmethod
    def _events() -> tuple[torch.cuda.Event, torch.cuda.Event]:
        return torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)

    def host_ms(self, call: Call) -> float:
        """What one call costs the host, while nothing is waited for."""
        call()
        times: list[float] = []
        for _ in range(FEWEST if self.gpu else 1):
            self._wait()
            calls = TINY_CALLS if self.gpu else 1
            begin = perf_counter()
            for _ in range(calls):
                call()
            times.append((perf_counter() - begin) * 1e3 / calls)
        self._wait()
        return median(times)

    def peak(self, call: Call) -> int | None:
        """Bytes held at most during a call, beside what was held before; None where nobody counts them."""
        if not self.gpu:
            return None
        self._wait()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        call()
        return torch.cuda.max_memory_allocated() - before

    def _wait(self) -> None:
        if self.gpu:
            torch.cuda.synchronize()


def elapsed_ms(call: Call) -> float:
    """Of one call that is done when it returns."""
    begin = perf_counter()
    call()
    return (perf_counter() - begin) * 1e3
