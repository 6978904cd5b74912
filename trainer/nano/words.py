"""Where words that mean nothing to the model come from: made-up names, and plain English words for odd prompts.

Promises names by the million from a generator, and that a tenth of all names (by hash) is never used in training.
The names that the sample dataset teaches are kept out of both sides (`RESERVED`).
"""

from __future__ import annotations

from random import Random
from typing import Final

from trainer.nano.phrasing import is_held_out

RESERVED: Final[tuple[str, ...]] = (
    "ellery", "harbour", "quill", "osk", "tamsin", "brindle", "marrow", "pell", "wick", "lantern", "saltmere", "corrie",
)  # fmt: skip
"""Parts of the sample dataset's own names; a name that contains one is never made here."""


def _split(spaced: str) -> tuple[str, ...]:
    """The words of a wrapped literal; an underscore stands for a space inside one."""
    return tuple(word.replace("_", " ") for word in spaced.split())


_ONSETS = _split(
    """
    b br bl c ch cr cl d dr f fl fr g gl gr h j k kl kr l m n p ph pl pr qu r s sc sh sk sl sm sn sp st str t th
    tr v w wh y z
    """
)
_NUCLEI = _split(
    """
    a a a e e e i i o o o u u ae ai au ea ee ei eo ia ie io oa oo ou ua y
    """
)
_CODAS = _split(
    """
    b ck d f g ff ft ld ll lm lt m mb mp n nd ng nk nt p pt r rd rk rl rn rt s sh sk ss st t th tz v x z
    """
)
_TAILS = _split(
    """
    a o ia us um is on en er el or an ar in il eth ora ona ica ella ano ari ov ski son man ton ham ford ville burg
    stan land mouth wick dale port field stead shire holm grad polis nia
    """
)

FIRST_NAMES: Final[tuple[str, ...]] = _split(
    """
    Ada Adam Alan Alice Amir Amy Ana Andre Anna Anton Arun Asha Ben Bella Boris Carl Carla Chen Clara Daniel Dara
    Diana Dmitri Ed Elena Eli Elsa Emil Emma Erik Eva Fatima Felix Finn Frida Gita Grace Greta Hana Hans Hugo Ida
    Igor Ines Iris Ivan Jack Jane Javier Joan John Jonas Julia Kai Karl Kate Kim Lars Laura Lea Leo Liam Lily Lina
    Lucia Luis Luke Maja Malik Marco Maria Mark Marta Max Maya Mia Mila Mina Nadia Nia Nick Nils Nina Noah Nora Olga
    Oliver Omar Oscar Otto Paul Pedro Peter Petra Priya Rafael Rana Ravi Rita Rosa Ruth Sam Sara Sofia Sven Tara
    Theo Tim Tom Uma Vera Victor Wei Yara Yuki Zara Zoe
    """
)
NOUNS: Final[tuple[str, ...]] = _split(
    """
    anchor apple army arrow bag bakery ball banana bank barn basket battery bed bell bench bicycle bird boat book
    bottle box bread bridge brush bucket building bus button cake camera candle canoe car card carpet castle chair
    cheese church circus clock cloud coat coin computer cook cup curtain desk diamond dinner doctor door dream drum
    egg engine factory farm farmer feather fence film fire fish flag flower fork forest fountain fridge fruit game
    garden gate ghost glass glove gold grass guitar hammer hat heart hill honey hospital hotel house ice idea island
    jacket job juice key king kitchen kite knife ladder lake lamp law leaf leather letter library lock machine map
    market medicine metal milk mill mirror money moon motor mountain museum music nail needle neighbour nest net
    newspaper nurse ocean office oil onion oven paint palace paper park pencil phone piano picture pillow pilot pipe
    pizza plane plant plate pocket poem poet potato prince prison queen radio railway rain recipe restaurant rice
    ring river road robot rock roof room rope salt sand sandwich saw school scissors sea seed shadow shelf ship
    shirt shoe shop shower singer sky snow soap sock soldier song soup spoon stadium stamp star station statue stone
    storm story street student sugar suit sun sword table tail tax taxi tea teacher team telephone temple tent
    theatre ticket tool tower town toy tractor train tree truck tunnel umbrella uncle uniform valley village violin
    voice wagon wall war watch water wheel whistle wind window wine wing winner wood wool writer yard yacht
    """
)
ADJECTIVES: Final[tuple[str, ...]] = _split(
    """
    ancient angry awful best bitter blue bold brave bright broken busy calm careful cheap chief classic clever
    common cruel curious deep dull eager easy electric famous fancy favourite flat foreign fresh friendly gentle
    giant golden grand great green hidden holy huge hungry important jolly large lazy little local lonely lost
    lovely lucky magic main major modern mysterious narrow national new next noble odd official orange ordinary
    perfect pink plain poor popular pretty private proud public purple quick rare ready red royal rude secret
    serious sharp short silent silly silver simple smooth special square steep strange sudden sweet tall tiny tired
    ugly upper usual vast warm white wide wild wise wonderful wooden yellow
    """
)
VERBS: Final[tuple[str, ...]] = _split(
    """
    answer ask bake begin believe break bring build buy call carry catch change choose clean climb close collect
    cook count cross cut dance decide describe design destroy discover draw drink drive eat explain fall feed feel
    fight fill find finish fix fly follow forget forgive give grow guess hear help hide hold hunt invent join jump
    keep kick knit know laugh lead leave lift listen live lock look lose love make meet mix move open order paint
    park pay pick plan plant play pull push read remember rent repair ride rise run sail save see sell send serve
    sew shake share shoot show sing sit sleep smell speak spend stand start steal stop study swim take talk taste
    teach throw touch travel try turn understand use visit wait walk wash watch wear weigh win wish work write
    """
)
TOPICS: Final[tuple[str, ...]] = _split(
    """
    algebra archery architecture art astronomy baking banking biology bitcoin boxing carpentry ceramics chemistry
    chess cinema climate coding cooking cricket cycling databases democracy design dinosaurs economics electricity
    engineering evolution farming fashion finance fishing football gardening genetics geology geometry golf grammar
    gravity history hockey insurance investing jazz judo justice kubernetes law linguistics literature logic
    machine-learning marketing mathematics medicine meditation microbiology music mythology networks nutrition opera
    painting philosophy photography physics poetry politics pottery programming psychology python quantum-mechanics
    relativity religion rhetoric robotics rugby rust sailing sculpture skiing sociology spacecraft statistics
    surgery swimming taxes tennis theology trade vaccines volcanoes weather weaving wine wrestling yoga zoology
    """
)

JOBS: Final[tuple[str, ...]] = _split(
    """
    mayor captain baker teacher doctor keeper owner founder president king queen director cook gardener judge priest
    librarian conductor architect blacksmith pilot painter treasurer guard coach editor manager miller brewer chief
    secretary driver inspector chairman singer head boss winner author inventor engineer nurse
    """
)
FACILITIES: Final[tuple[str, ...]] = _split(
    """
    lighthouse library market ferry bakery mill school museum bridge inn tower chapel post_office station clock well
    garden theatre shipyard brewery observatory hospital town_hall harbour windmill orchard archive workshop castle
    railway festival choir newspaper football_club pub hotel swimming_pool zoo factory farm vineyard quarry mine dam
    tram fire_brigade bank pharmacy tea_house boat bell gate statue fountain flag tavern smithy granary lock pier
    """
)


def _syllables(rng: Random, least: int, most: int) -> str:
    parts = []
    for _ in range(rng.randint(least, most)):
        parts.append(rng.choice(_ONSETS) if rng.random() < 0.9 else "")
        parts.append(rng.choice(_NUCLEI))
        parts.append(rng.choice(_CODAS) if rng.random() < 0.35 else "")
    return "".join(parts) + (rng.choice(_TAILS) if rng.random() < 0.45 else "")


def made_up(rng: Random, *, held_out: bool) -> str:
    """A capitalised word that means nothing, from the wanted side of the split."""
    while True:
        word = _syllables(rng, 1, 3)
        usable = 3 <= len(word) <= 12 and not any(part in word for part in RESERVED)
        usable = usable and word.capitalize() not in FIRST_NAMES
        if usable and is_held_out("name " + word) == held_out:
            return word.capitalize()


def invented_place(rng: Random, *, held_out: bool) -> str:
    """A made-up place, of one or two words."""
    word = made_up(rng, held_out=held_out)
    if rng.random() < 0.65:
        return word
    lead = "Port Lake Mount New Old Fort Saint Great Upper Lower North South East West Cape Glen Isle-of Little San El"
    return f"{rng.choice(lead.split()).replace('-', ' ')} {word}"


def invented_person(rng: Random, *, held_out: bool) -> str:
    """A made-up person: a first name in common use or a made-up one, and a made-up surname."""
    surname = made_up(rng, held_out=held_out)
    first = rng.choice(FIRST_NAMES) if rng.random() < 0.7 else made_up(rng, held_out=held_out)
    return f"{first} {surname}"
