"""`vscan bench`: what a stock model, its hooks and a method cost, on any device. One question per file.

Every file measures on models that it is given; `suites` says which, `record` keeps each row as soon as it is known.
"""
