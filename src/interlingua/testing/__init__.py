"""The contract suite: what every component promises, over all that are installed, and tiny models to try them with.

Run it over your own plug-in: ``pytest --pyargs interlingua.testing -k my-model``. It asks what a component says of
itself and never its name: small options are found by the names of fields, files and models are supplied.

Not here: tests of one component's numbers, which stand beside its source.
"""
