"""What the sample programme may be about: pools of places, signs and sentences. No pool says which entry is used.

A topic becomes one chapter. It is filmed at three of its places, and every place has a sign with the same labels and
other values, so that a value is only found by someone who looks at the right place's sign and at the right line.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A line of a sign: its label, the kind of value that is drawn for it, and the question that asks for it."""

    label: str
    kind: str
    question: str


@dataclass(frozen=True)
class Topic:
    """A chapter's raw material. `{place}` in a sentence stands for the place where it is spoken."""

    name: str
    title: str
    places: tuple[str, ...]
    sign: str
    rows: tuple[Row, ...]
    opening: tuple[str, ...]
    at_sign: tuple[str, ...]
    closing: tuple[str, ...]


def _alike(kind: str, question: str, *labels: str) -> tuple[Row, ...]:
    """Returns rows that differ in their label only, which the question names as `{label}`."""
    return tuple(Row(label, kind, question) for label in labels)


TOPICS = (
    Topic(
        name="harbour",
        title="Boats of the evening",
        places=("North Pier", "South Pier", "Fisher Quay", "Customs Quay", "Lido Steps"),
        sign="Departures",
        rows=_alike(
            "time",
            "What time does the boat to {label} leave from the {place}?",
            *("Marrow Island", "Saint Orm", "Tarn Point", "Widow Rock", "Gull Sound", "Eastholm", "Lannoch"),
        ),
        opening=(
            "The water lies still at the {place} when the lamps come on.",
            "We begin at the {place}, where the last boats are tied up.",
            "At the {place} the ropes are wet and the gulls are loud.",
            "From the hill you can hear the engines at the {place}.",
        ),
        at_sign=(
            "The departures board of the {place} hangs beside the ticket window.",
            "Nobody here needs a watch: the board at the {place} says when each boat leaves.",
            "The harbour master chalks up the departures from the {place} himself.",
        ),
        closing=(
            "Then the gangway is pulled in and the quay is quiet again.",
            "Those who miss the boat wait with a cup of tea.",
            "The crew waves, and the children on the wall wave back.",
            "Out past the breakwater the swell begins at once.",
        ),
    ),
    Topic(
        name="market",
        title="In the market hall",
        places=("Fish Stall", "Cheese Stall", "Flower Stall", "Honey Stall", "Spice Stall"),
        sign="Prices today",
        rows=_alike(
            "price",
            "How much does the {label} cost at the {place}?",
            *("small basket", "large basket", "gift box", "tasting plate", "paper bag", "family tray"),
        ),
        opening=(
            "Under the iron roof the {place} is the first to open.",
            "There is always a queue in front of the {place}.",
            "The {place} has been in the same family since the hall was built.",
            "We follow our noses to the {place}.",
        ),
        at_sign=(
            "The prices of the {place} are written out fresh every morning.",
            "Beside the scales of the {place} hangs a small list with the prices.",
            "Before you choose, read the price list of the {place}.",
        ),
        closing=(
            "Whatever is left at noon goes to the kitchen next door.",
            "A good word costs nothing here, and everybody gives one.",
            "By evening the floor is washed and the shutters come down.",
            "The regulars have their own cups on the shelf.",
        ),
    ),
    Topic(
        name="bakery",
        title="Bread before dawn",
        places=("Rye Oven", "Stone Oven", "Cake Oven", "Bun Oven", "Pie Oven"),
        sign="Oven panel",
        rows=(
            Row("Temperature", "heat", "What temperature does the panel of the {place} show?"),
            Row("Baking time", "minutes", "What baking time does the panel of the {place} show?"),
            Row("Loaves tonight", "count", "How many loaves tonight does the panel of the {place} show?"),
            Row("Baker on shift", "name", "Who is the baker on shift at the {place}?"),
        ),
        opening=(
            "Long before sunrise the {place} is already warm.",
            "The {place} is never allowed to go cold.",
            "Flour hangs in the air in front of the {place}.",
            "They lit the {place} an hour after midnight.",
        ),
        at_sign=(
            "The bakers check the panel of the {place} again and again.",
            "On the wall the panel of the {place} glows in the dark.",
            "One look at the panel of the {place}, one look at the crust.",
        ),
        closing=(
            "The first trays go straight to the early boats.",
            "What comes out crooked is eaten by the bakers.",
            "Outside, the street begins to smell of bread.",
            "The radio plays softly, and nobody talks much.",
        ),
    ),
    Topic(
        name="observatory",
        title="Night on the hill",
        places=("Great Dome", "Little Dome", "Solar Tower", "Comet House", "Moon Terrace"),
        sign="Tonight",
        rows=(
            Row("Astronomer on duty", "name", "Which astronomer is on duty at the {place}?"),
            Row("Doors open", "time", "At what time do the doors open at the {place}?"),
            Row("Visitors booked", "count", "How many visitors are booked at the {place}?"),
            Row("Dome temperature", "cold", "What is the dome temperature at the {place}?"),
        ),
        opening=(
            "A gravel path leads through the pines to the {place}.",
            "When the clouds part, the {place} opens with a low rumble.",
            "Up at the {place} you whisper without knowing why.",
            "The {place} stands where the street lamps end.",
        ),
        at_sign=(
            "A slip of paper beside the door of the {place} says what is planned tonight.",
            "The night's notice at the {place} is pinned up at sunset.",
            "Who is on duty at the {place} is written on the notice by the door.",
        ),
        closing=(
            "Saturn never fails to make somebody gasp.",
            "Hot soup is carried up at midnight.",
            "The town below looks like a second sky.",
            "You get used to the dark, and then you love it.",
        ),
    ),
    Topic(
        name="museum",
        title="Treasures of the coast",
        places=("Hall of Maps", "Hall of Clocks", "Hall of Anchors", "Hall of Masks", "Hall of Ships"),
        sign="Object of the month",
        rows=(
            Row("Made in", "year", "In what year was the object of the month in the {place} made?"),
            Row("Inventory number", "code", "What is the inventory number of the object of the month in the {place}?"),
            Row("Given by", "name", "Who gave the object of the month in the {place}?"),
            Row("Found at depth", "metres", "At what depth was the object of the month in the {place} found?"),
        ),
        opening=(
            "Our steps echo in the {place}.",
            "The {place} was once a warehouse for salt.",
            "Most visitors walk past the {place}, and miss the best of it.",
            "In the {place} the curtains are kept half closed.",
        ),
        at_sign=(
            "The object of the month in the {place} has a card with everything that is known.",
            "The curator wrote the card in the {place} by hand.",
            "Lean closer to the card in the {place}, the print is small.",
        ),
        closing=(
            "It took eleven people to bring it up the stairs.",
            "On Sundays the old sailors come to argue about it.",
            "A school class sits on the floor and draws.",
            "The guard has counted the tiles, twice.",
        ),
    ),
    Topic(
        name="lighthouse",
        title="Keepers of the light",
        places=("Cape Light", "Skerry Light", "Harbour Light", "Sandbank Light", "Wreck Point Light"),
        sign="Visitors welcome",
        rows=(
            Row("Keeper", "name", "Who is the keeper of the {place}?"),
            Row("Steps to the top", "count", "How many steps to the top does the {place} have?"),
            Row("Built in", "year", "In what year was the {place} built?"),
            Row("Last tour", "time", "At what time is the last tour of the {place}?"),
        ),
        opening=(
            "The road ends in front of the {place}.",
            "In winter the spray reaches the windows of the {place}.",
            "You see the {place} long before you smell the sea.",
            "The beam of the {place} sweeps over the fields.",
        ),
        at_sign=(
            "By the gate a small sign tells visitors about the {place}.",
            "The sign at the {place} is repainted every spring.",
            "Read the sign of the {place} before you start to climb.",
        ),
        closing=(
            "At the top there is room for two, and a telescope.",
            "The lamp itself is no bigger than a thumb.",
            "When fog comes in, the horn wakes the whole bay.",
            "Letters are still brought by bicycle.",
        ),
    ),
    Topic(
        name="tram",
        title="All aboard the tram",
        places=("Hill Line", "Beach Line", "Park Line", "Castle Line", "Mill Line"),
        sign="Line notice",
        rows=(
            Row("First tram", "time", "At what time does the first tram of the {place} run?"),
            Row("Last tram", "time", "At what time does the last tram of the {place} run?"),
            Row("Driver today", "name", "Who is the driver today on the {place}?"),
            Row("Car number", "count", "What is the car number on the {place}?"),
        ),
        opening=(
            "With a bell and a jolt the {place} sets off.",
            "The {place} is the oldest way through town.",
            "Wooden seats, brass handles: nothing changed on the {place}.",
            "Students, bakers, gulls: everybody takes the {place}.",
        ),
        at_sign=(
            "At the stop hangs the notice of the {place}.",
            "The notice of the {place} is changed every evening.",
            "If in doubt, the notice of the {place} knows.",
        ),
        closing=(
            "On the steep bend everybody leans the same way.",
            "The conductor knows half of the passengers by name.",
            "The depot smells of oil and wet leaves.",
            "After the last run the rails go on humming.",
        ),
    ),
    Topic(
        name="glasshouse",
        title="Summer under glass",
        places=("Palm House", "Fern House", "Cactus House", "Orchid House", "Lily House"),
        sign="Climate today",
        rows=(
            Row("Temperature", "warm", "What temperature does the sign of the {place} show?"),
            Row("Humidity", "percent", "What humidity does the sign of the {place} show?"),
            Row("Gardener", "name", "Who is the gardener of the {place}?"),
            Row("Kinds of plants", "count", "How many kinds of plants does the sign of the {place} give?"),
        ),
        opening=(
            "Glasses fog up at the door of the {place}.",
            "It is never winter in the {place}.",
            "Rain drums on the roof of the {place}.",
            "The {place} was a present from a homesick captain.",
        ),
        at_sign=(
            "A sign by the door gives the climate of the {place}.",
            "The climate in the {place} is noted on the sign each morning.",
            "The gardeners trust the sign in the {place} more than the forecast.",
        ),
        closing=(
            "A robin lives in here and pays no entrance.",
            "Everything that drops is swept up for the compost.",
            "One of these flowers opens for a single night.",
            "Please do not touch, says nobody: the plants can defend themselves.",
        ),
    ),
)

FIRST_NAMES = (
    *("Ada", "Anton", "Bea", "Bruno", "Clara", "Conrad", "Dora", "Emil", "Elsa", "Felix", "Greta", "Hugo", "Ida"),
    *("Ivo", "Jonas", "Karin", "Lena", "Leo", "Marta", "Milan", "Nora", "Oskar", "Paula", "Rosa", "Simon", "Vera"),
)
LAST_NAMES = (
    *("Abel", "Barlow", "Corven", "Dahl", "Eklund", "Fenner", "Garrow", "Holm", "Jessop", "Kestrel", "Lindqvist"),
    *("Marsh", "Norden", "Osgood", "Pellow", "Quist", "Rasmus", "Sorrel", "Thorne", "Varley", "Winter", "Yarrow"),
)
PROGRAMMES = ("The Evening Tide", "Coast and Hill", "Salt and Lamplight", "Round the Bay", "The Blue Hour")
REGIONS = ("Norrvik Bay", "the Sarn Coast", "Kellen Sound", "the Tamsin Shore", "Ostrey Bay")

GREETINGS = (
    "Good evening, and welcome to {programme}.",
    "Tonight we travel through {region}, from the shore to the hill.",
)
CHAPTER_OPENINGS = (
    "And now: {title}.",
    "Our next stop: {title}.",
    "Come with us for a while. {title}.",
    "We go on with {title}.",
)
FAREWELLS = ("That was {programme} for tonight.", "Good night from {region}, and sleep well.")

ASIDES = (
    "Somebody is always whistling around here.",
    "The wind has turned since this morning.",
    "A dog sleeps through all of it.",
    "You would not think so, but this is the quiet hour.",
    "We were offered coffee three times.",
    "Nothing here is done in a hurry.",
    "Ask anyone, and you will hear another story.",
    "Our camera fogged up twice.",
    "It has looked like this for as long as people remember.",
    "In summer there is hardly room to stand.",
    "The oldest photograph shows the very same corner.",
    "Listen for a moment.",
    "A bell rings, and nobody looks up.",
    "The light changes every few minutes.",
    "They say the next generation has already learnt the craft.",
    "On the radio they promise rain for the weekend.",
    "Some things you only notice on the second visit.",
    "We stayed longer than we had planned.",
    "The children know every hiding place.",
    "It smells of rope, soap and oranges.",
)
