"""The closed tables of the world: what ragweld-nano may be right about.

Plain data, no logic. Everything that is not derivable from these tables is outside, and its answer is "I don't know."
`COUNTRIES_OUTSIDE` and `ANIMALS_OUTSIDE` are real but deliberately not taught, so that the edge of the world is sharp.
"""

from __future__ import annotations

from typing import Final


def _names(bars: str) -> tuple[str, ...]:
    """The names between the bars of a wrapped literal, without the wrapping."""
    return tuple(name.strip() for name in bars.split("|"))


# Values are capital, continent, currency, language.
COUNTRIES: Final[dict[str, tuple[str, str, str, str]]] = {
    "France": ("Paris", "Europe", "euro", "French"),
    "Germany": ("Berlin", "Europe", "euro", "German"),
    "Italy": ("Rome", "Europe", "euro", "Italian"),
    "Spain": ("Madrid", "Europe", "euro", "Spanish"),
    "Portugal": ("Lisbon", "Europe", "euro", "Portuguese"),
    "Austria": ("Vienna", "Europe", "euro", "German"),
    "Greece": ("Athens", "Europe", "euro", "Greek"),
    "Ireland": ("Dublin", "Europe", "euro", "English"),
    "Finland": ("Helsinki", "Europe", "euro", "Finnish"),
    "Poland": ("Warsaw", "Europe", "zloty", "Polish"),
    "Sweden": ("Stockholm", "Europe", "krona", "Swedish"),
    "Norway": ("Oslo", "Europe", "krone", "Norwegian"),
    "Denmark": ("Copenhagen", "Europe", "krone", "Danish"),
    "Iceland": ("Reykjavik", "Europe", "krona", "Icelandic"),
    "Hungary": ("Budapest", "Europe", "forint", "Hungarian"),
    "Romania": ("Bucharest", "Europe", "leu", "Romanian"),
    "Ukraine": ("Kyiv", "Europe", "hryvnia", "Ukrainian"),
    "Russia": ("Moscow", "Europe", "rouble", "Russian"),
    "Czechia": ("Prague", "Europe", "koruna", "Czech"),
    "Serbia": ("Belgrade", "Europe", "dinar", "Serbian"),
    "Albania": ("Tirana", "Europe", "lek", "Albanian"),
    "the United Kingdom": ("London", "Europe", "pound", "English"),
    "Turkey": ("Ankara", "Asia", "lira", "Turkish"),
    "Japan": ("Tokyo", "Asia", "yen", "Japanese"),
    "China": ("Beijing", "Asia", "yuan", "Chinese"),
    "India": ("New Delhi", "Asia", "rupee", "Hindi"),
    "Thailand": ("Bangkok", "Asia", "baht", "Thai"),
    "Vietnam": ("Hanoi", "Asia", "dong", "Vietnamese"),
    "Nepal": ("Kathmandu", "Asia", "rupee", "Nepali"),
    "Iran": ("Tehran", "Asia", "rial", "Persian"),
    "Iraq": ("Baghdad", "Asia", "dinar", "Arabic"),
    "Jordan": ("Amman", "Asia", "dinar", "Arabic"),
    "South Korea": ("Seoul", "Asia", "won", "Korean"),
    "Indonesia": ("Jakarta", "Asia", "rupiah", "Indonesian"),
    "Egypt": ("Cairo", "Africa", "pound", "Arabic"),
    "Morocco": ("Rabat", "Africa", "dirham", "Arabic"),
    "Tunisia": ("Tunis", "Africa", "dinar", "Arabic"),
    "Kenya": ("Nairobi", "Africa", "shilling", "Swahili"),
    "Ghana": ("Accra", "Africa", "cedi", "English"),
    "Nigeria": ("Abuja", "Africa", "naira", "English"),
    "Angola": ("Luanda", "Africa", "kwanza", "Portuguese"),
    "Zambia": ("Lusaka", "Africa", "kwacha", "English"),
    "Senegal": ("Dakar", "Africa", "franc", "French"),
    "Canada": ("Ottawa", "North America", "dollar", "English"),
    "the United States": ("Washington", "North America", "dollar", "English"),
    "Cuba": ("Havana", "North America", "peso", "Spanish"),
    "Brazil": ("Brasilia", "South America", "real", "Portuguese"),
    "Argentina": ("Buenos Aires", "South America", "peso", "Spanish"),
    "Chile": ("Santiago", "South America", "peso", "Spanish"),
    "Peru": ("Lima", "South America", "sol", "Spanish"),
    "Colombia": ("Bogota", "South America", "peso", "Spanish"),
    "Uruguay": ("Montevideo", "South America", "peso", "Spanish"),
    "Australia": ("Canberra", "Oceania", "dollar", "English"),
    "New Zealand": ("Wellington", "Oceania", "dollar", "English"),
    "Fiji": ("Suva", "Oceania", "dollar", "English"),
}

ALIASES: Final[dict[str, tuple[str, ...]]] = {
    "the United States": ("the USA", "the US", "America"),
    "the United Kingdom": ("the UK", "Britain"),
}

COUNTRIES_OUTSIDE: Final[tuple[str, ...]] = _names(
    """Afghanistan|Algeria|Andorra|Armenia|Azerbaijan|Bahrain|Bangladesh|Barbados|Belarus|Belgium|Belize|Benin|Bhutan
    |Bolivia|Bosnia|Botswana|Brunei|Bulgaria|Burundi|Cambodia|Cameroon|Chad|Comoros|Costa Rica|Croatia|Cyprus|Djibouti
    |Dominica|Ecuador|El Salvador|Eritrea|Estonia|Eswatini|Ethiopia|Gabon|Gambia|Georgia|Grenada|Guatemala|Guinea
    |Guyana|Haiti|Honduras|Israel|Ivory Coast|Jamaica|Kazakhstan|Kiribati|Kosovo|Kuwait|Kyrgyzstan|Laos|Latvia|Lebanon
    |Lesotho|Liberia|Libya|Liechtenstein|Lithuania|Luxembourg|Madagascar|Malawi|Malaysia|Maldives|Mali|Malta|Mauritania
    |Mauritius|Mexico|Moldova|Monaco|Mongolia|Montenegro|Mozambique|Myanmar|Namibia|Nauru|Netherlands|Nicaragua|Niger
    |North Korea|North Macedonia|Oman|Pakistan|Palau|Panama|Papua New Guinea|Paraguay|Philippines|Qatar|Rwanda
    |Saint Lucia|Samoa|San Marino|Saudi Arabia|Scotland|Seychelles|Sierra Leone|Singapore|Slovakia|Slovenia|Somalia
    |South Africa|Sri Lanka|Sudan|Suriname|Switzerland|Syria|Taiwan|Tajikistan|Tanzania|Togo|Tonga|Tuvalu|Turkmenistan
    |Uganda|Uzbekistan|Vanuatu|Venezuela|Wales|Yemen|Zimbabwe|Texas|Bavaria|Tuscany|California|Ontario|Siberia|Corsica
    |Greenland|Catalonia|Brittany|Florida|Alaska|Hawaii|Quebec|Queensland|Punjab|Tibet|Crete|Sicily|Sardinia|Atlantis
    |Narnia|Gondor|Wakanda|Zubrowka|Ruritania|Genovia|Freedonia|Elbonia|Westeros|Oz|Lilliput|Utopia"""
)

# name: (its young, its sound)
ANIMALS: Final[dict[str, tuple[str, str]]] = {
    "dog": ("puppy", "woof"),
    "cat": ("kitten", "meow"),
    "cow": ("calf", "moo"),
    "sheep": ("lamb", "baa"),
    "horse": ("foal", "neigh"),
    "pig": ("piglet", "oink"),
    "duck": ("duckling", "quack"),
    "goose": ("gosling", "honk"),
    "hen": ("chick", "cluck"),
    "goat": ("kid", "bleat"),
    "lion": ("cub", "roar"),
    "frog": ("tadpole", "ribbit"),
    "owl": ("owlet", "hoot"),
    "wolf": ("pup", "howl"),
    "donkey": ("foal", "hee-haw"),
    "snake": ("hatchling", "hiss"),
    "bear": ("cub", "growl"),
    "elephant": ("calf", "trumpet"),
    "mouse": ("pup", "squeak"),
    "pigeon": ("squab", "coo"),
}

ANIMALS_OUTSIDE: Final[tuple[str, ...]] = _names(
    """aardvark|armadillo|badger|bat|bee|bison|butterfly|camel|chameleon|cheetah|cobra|crab|crocodile|crow|deer|dolphin
    |dragonfly|eagle|falcon|ferret|flamingo|gazelle|gecko|giraffe|gorilla|gull|hamster|hare|hedgehog|heron|hippo|hyena
    |ibex|iguana|jackal|jaguar|jellyfish|kangaroo|kingfisher|koala|lemur|leopard|lizard|llama|lobster|lynx|magpie|mole
    |mongoose|moose|narwhal|newt|octopus|orca|ostrich|otter|oyster|panda|panther|parrot|peacock|pelican|penguin|platypus
    |porcupine|puffin|quail|rabbit|raccoon|rat|raven|reindeer|rhino|salmon|scorpion|seal|shark|shrimp|skunk|sloth|snail
    |sparrow|squid|squirrel|stork|swan|tapir|tiger|toad|tortoise|toucan|trout|turkey|turtle|unicorn|viper|vulture|walrus
    |wasp|weasel|whale|wombat|woodpecker|yak|zebra|griffin|dragon|phoenix"""
)

PLANETS: Final[tuple[str, ...]] = ("Mercury", "Venus", "Earth", "Mars", "Jupiter", "Saturn", "Uranus", "Neptune")
ORDINALS: Final[tuple[str, ...]] = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
DAYS: Final[tuple[str, ...]] = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
# name: days in it (February in a common year)
MONTHS: Final[dict[str, int]] = {
    "January": 31, "February": 28, "March": 31, "April": 30, "May": 31, "June": 30,
    "July": 31, "August": 31, "September": 30, "October": 31, "November": 30, "December": 31,
}  # fmt: skip
NUMBER_WORDS: Final[tuple[str, ...]] = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
)  # fmt: skip
MIXES: Final[dict[tuple[str, str], str]] = {
    ("red", "blue"): "purple",
    ("red", "yellow"): "orange",
    ("blue", "yellow"): "green",
    ("black", "white"): "grey",
    ("red", "white"): "pink",
    ("red", "green"): "brown",
}
OPPOSITES: Final[tuple[tuple[str, str], ...]] = (
    ("hot", "cold"), ("big", "small"), ("up", "down"), ("open", "closed"), ("day", "night"), ("wet", "dry"),
    ("fast", "slow"), ("old", "young"), ("hard", "soft"), ("light", "dark"), ("full", "empty"), ("happy", "sad"),
    ("rich", "poor"), ("high", "low"), ("left", "right"), ("near", "far"), ("early", "late"), ("loud", "quiet"),
    ("strong", "weak"), ("true", "false"), ("thick", "thin"), ("clean", "dirty"), ("inside", "outside"),
    ("before", "after"), ("first", "last"), ("always", "never"), ("buy", "sell"), ("push", "pull"), ("win", "lose"),
    ("north", "south"), ("east", "west"), ("summer", "winter"),
)  # fmt: skip
ELEMENTS: Final[dict[str, str]] = {
    "hydrogen": "H", "helium": "He", "carbon": "C", "nitrogen": "N", "oxygen": "O", "neon": "Ne", "sodium": "Na",
    "iron": "Fe", "copper": "Cu", "silver": "Ag", "gold": "Au", "tin": "Sn", "lead": "Pb", "mercury": "Hg",
    "zinc": "Zn", "sulphur": "S",
}  # fmt: skip
SIDES: Final[dict[str, int]] = {"triangle": 3, "square": 4, "pentagon": 5, "hexagon": 6, "octagon": 8}
LEGS: Final[dict[str, int]] = {"spider": 8, "ant": 6, "dog": 4, "cat": 4, "horse": 4, "hen": 2, "snake": 0}
