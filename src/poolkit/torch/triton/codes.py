"""Words of the kernels' arguments, as the numbers that they are there."""

# What a fold has beside x: nothing, tap numbers or values of the axes before, a filter's weights, or the output's own
# number.
ALONE, NUMBERS, VALUES, WEIGHTS, OWN = range(5)
# What sums are divided by: nothing, the taps that exist, those inside the padding, or a number.
UNDIVIDED, TAPS, PADDED, FIXED = range(4)
# A number of its own for each output: none, each one's, the same for all of them, or the parameter `level`.
NO_EXTRA, EACH, SAME, LEVEL = range(4)
# Of whole planes: all in one, the state of a piece, the join of all pieces.
WHOLE, PIECE, JOIN = range(3)
