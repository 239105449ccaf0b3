"""A mutation fuzzer: damaged files and odd command lines, against what headstart promises about them.

    make fuzz                                        3400 cases with each of three seeds
    PYTHONPATH=tests python -m fuzz --seeds 7 --cases 500
    PYTHONPATH=tests python -m fuzz --seeds 7 --case 123   one case again, with all it printed

A case is drawn from its seed and its number, so it is the same on every machine. What a case may do is in `judge`.
"""
