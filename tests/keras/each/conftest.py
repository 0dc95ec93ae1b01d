"""Warnings of the back ends about themselves, which no change of poolkit can stop."""

FOREIGN = (
    "ignore::DeprecationWarning:tensorflow.*",
    "ignore::DeprecationWarning:keras.*",
    "ignore::FutureWarning:torch.*",
    "ignore::DeprecationWarning:torch.*",
    "ignore::UserWarning:torch.*",
)


def pytest_configure(config):
    for line in FOREIGN:
        config.addinivalue_line("filterwarnings", line)
