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
PLACES = _words("bakery theatre pavilion stables courtyard orchard")
THINGS = _words("violin camera suitcase mirror")
PEOPLE = _words(
    "Alma Bruno Celia Dario Elena Felix Greta Hugo Iris Jasper Klara Lorenz Mila Nestor Olga "
    "Pablo Rosa Stefan Tilda Ulrich Vera Wanda Xaver Yvonne Zeno Anton Bianca Carlos Doris Erik "
    "Flora Gustav Helga Ivan Julia Kasimir Lydia Marco Nina Otto Paula Quentin Ramon Silvia Tamara"
)
