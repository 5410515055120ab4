"""Timing this toolkit against its peers: the same work with the same weights, in one process and in turns.

On a machine that others use, too, a time says little and a ratio much: each round times every side once, and
what counts is the median over the rounds of the ratio within a round.

    setting.py     what is asked for
    timing.py      running the sides in turns; ratios and differences
    memory.py      what a side allocates at most
    machine.py     what this machine is and what it can do
    reference.py   ConvNeXt written plainly, as the peers have it
    stock.py       mmdet's and mmseg's own modules for a config of ours, and compiled operators for them
    forms.py       the forms in which a model runs: eager, channels_last, compiled
    weights.py     our weights in the names of other libraries
    cases/         what is compared
    table.py       printing and JSON
    command.py     the command line
"""
