"""The examination that every method passes, for methods of other packages as well: `python -m vscan_core.conformance`.

    python -m vscan_core.conformance loudest            # a method that an installed package offers
    pytest --pyargs vscan_core.conformance -k loudest   # the same, among all methods

It needs pytest, which the library itself does not. Models are tiny, random and made on the spot. A package's own tests
can hold it as well:

    from vscan_core.conformance import test_choices, test_running

    @pytest.mark.parametrize("method", ["loudest"])
    class TestLoudest(test_choices.TestChoices, test_running.TestOnOneModel): ...
"""
