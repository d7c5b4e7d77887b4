"""Transfer learning on greyscale images: a matrix of runs, measured, tabulated and reported."""
