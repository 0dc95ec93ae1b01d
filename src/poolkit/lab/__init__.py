"""The lab: which pooling should a network use? See it, train it, measure it.

`poolkit.lab.data` reads data sets, `poolkit.lab.models` holds networks whose poolings can be chosen,
`poolkit.lab.study` trains one network for each pooling and seed, and `poolkit.lab.stats` says what the differences are
worth. The command line drives them: ``poolkit compare``, ``report``, ``advise``, ``tensorboard`` and ``layers``.

Importing the package loads neither torch nor anything else that is heavy; its modules do.
"""
