"""How far back days are looked after."""

CATCH_UP_DAYS = 90
"""How far back days are judged by themselves: as far as answers are taken by default."""
