"""Words of the kernels' arguments, as the numbers that they are there."""

# What a fold reads beside x: nothing, tap numbers or values of the axes before, or a filter's weights.
ALONE, NUMBERS, VALUES, WEIGHTS = range(4)
# What sums are divided by: nothing, the taps that exist, those inside the padding, or a number.
UNDIVIDED, TAPS, PADDED, FIXED = range(4)
# A number of its own for each output: none, each one's, the same for all of them, or the parameter `level`.
NO_EXTRA, EACH, SAME, LEVEL = range(4)
# Of whole planes: all in one, the state of a piece, the join of all pieces.
WHOLE, PIECE, JOIN = range(3)
