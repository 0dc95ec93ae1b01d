"""Warnings of the back ends about themselves, which no change of poolkit can stop."""

FOREIGN = (
    # Keras hands torch tensors to NumPy in a way that NumPy 2 deprecates.
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning",
    "ignore::DeprecationWarning:tensorflow.*",
    "ignore::DeprecationWarning:keras.*",
    "ignore::FutureWarning:torch.*",
    "ignore::DeprecationWarning:torch.*",
    "ignore::UserWarning:torch.*",
)


def pytest_configure(config):
    for line in FOREIGN:
        config.addinivalue_line("filterwarnings", line)
