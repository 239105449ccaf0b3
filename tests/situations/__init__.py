"""What other people's environments, teams and settings bring along, one small input each: done right, or refused in one line.

PYTHONPATH=tests python -m situations [WORD ...]      a table; with words, the rows that contain one of them
PYTHONPATH=tests python -m situations --quick         without the rows that train or start processes
"""
