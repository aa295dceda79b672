"""What can be the case in an invented text: words of a kind, none of which stands in the filler."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FLOWERS = _words("thistle foxglove lavender primrose snowdrop bluebell jasmine begonia magnolia")
NAMES = _words("Oskar Matilda Ignacio Fiona Leopold Yusuf Henrik Beatrice Tobias")
ANIMALS = _words("tiger giraffe crocodile walrus kangaroo leopard flamingo tortoise camel")
CITIES = _words("Lisbon Nairobi Montreal Helsinki Cairo Boston Vienna Mumbai Dublin")
INSTRUMENTS = _words("cello tuba harp bassoon banjo oboe piano saxophone guitar")
MATERIALS = _words("marble bronze granite porcelain jade ebony plastic alabaster sandstone")
FRUITS = _words("cherries peaches apricots oranges mangoes figs lychees lemons olives")
LANGUAGES = _words("Norwegian Swahili Hungarian Turkish Finnish Korean Icelandic Bengali Welsh")
