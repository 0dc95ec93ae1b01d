"""``python -m bench.gpu``: the Triton kernels on one GPU against ATen, Inductor and the copy rate, in one table.

Every row is checked before it is timed: fresh random inputs, outputs in memory that held NaN, and the relative error
against float64. Times are medians of CUDA events, each sample with the second cache turned over and with enough work
queued before it that no launch is waited for; the copy rate is measured between them. The bars are those of
``docs/gpu.md``. It ends within eight minutes: rows that no time is left for are listed as such, and then, as for a bar
that is missed, the exit status is 1.

``--dry`` runs all of it on tiny tensors in Triton's interpreter, without a GPU: its times mean nothing.
"""
