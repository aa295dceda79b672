"""Pictures of what happens: interactive views, and their static twins in ``plots``.

Nothing here loads matplotlib or a widget library before a picture is asked for.
"""
