"""From a recipe to a run: resolved, planned, checked, run stage by stage, opened again, compared.

Not here: methods. It is the only room that knows every kind of component.
"""
