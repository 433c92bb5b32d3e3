"""Candidate words of the mini corpus, by grammatical role.

More words stand here than the corpus uses: `data.corpus.screen` drops the ones that the screening ASR
does not hear on the original recordings, before any split is made and any model is trained. Homophones
("right" / "write"), number words and compounds that are also written as two words are left out by hand,
because a recogniser that spells them differently has heard them correctly.
"""

WORDS: dict[str, str] = {
    "person": """teacher farmer doctor driver sister brother mother father student lawyer painter singer
        dancer writer soldier sailor pilot nurse baker butcher waiter lady husband captain leader
        manager worker neighbor friend visitor stranger tourist king queen prince princess
        artist actor reporter judge officer guard hunter fisherman uncle cousin grandmother
        grandfather child boy girl woman man baby player coach director engineer carpenter
        gardener secretary customer passenger president""",
    "animal": """horse dog cat monkey rabbit elephant tiger lion eagle chicken donkey camel wolf
        snake spider dolphin turtle pigeon goat puppy kitten duck""",
    "object": """bottle basket table chair window picture mirror letter book paper pencil hammer
        ladder blanket pillow jacket bucket candle camera guitar piano violin drum trumpet
        computer machine engine bicycle wagon carpet curtain cabinet drawer package parcel
        envelope newspaper magazine dictionary umbrella necklace button pocket wallet suitcase
        helmet sweater ribbon kettle teapot spoon knife plate glass cup bowl lamp clock
        radio telephone television printer statue painting diamond coin stamp ticket map
        flag rope chain shovel broom towel soap brush toy puzzle balloon""",
    "food": """apple orange banana lemon potato tomato carrot onion cabbage mushroom pepper
        sandwich pizza butter cheese chocolate coffee honey sugar pumpkin cookie cake pie
        salad sausage pancake muffin noodle peanut coconut""",
    "place": """kitchen garden village city market hospital library museum station office school
        church castle palace bridge river forest mountain valley island beach harbor desert
        field farm stable tower theater restaurant hotel bakery factory prison airport
        garage basement bedroom hallway corner street avenue park playground stadium
        temple cottage cabin tunnel canyon lake ocean meadow orchard university college
        cathedral courtyard""",
    "adjective": """happy angry tired hungry clever lazy gentle brave famous lonely nervous
        quiet friendly careful stubborn curious patient honest polite young silly
        wealthy busy proud foolish cheerful jealous sleepy""",
    "quality": """heavy broken empty yellow purple green red black golden silver wooden plastic
        little huge tiny ancient modern dirty clean simple beautiful ugly expensive cheap
        strange familiar round square narrow wide shiny dusty dark bright soft hard
        rusty perfect precious useful magic secret favorite enormous ordinary delicate
        colorful pink orange brown""",
    "verb": """carried opened closed painted cleaned repaired borrowed returned collected
        discovered dropped followed found forgot noticed ordered picked pushed pulled
        remembered stole touched washed watched wanted received delivered examined
        protected admired lifted moved covered counted described
        bought sold kept lost hid broke built brought caught chose grabbed ignored
        inspected mentioned needed offered photographed polished purchased removed
        rescued selected shared showed studied visited recognized""",
    "go": """walked traveled waited rested danced laughed slept worked played jumped
        climbed arrived remained listened appeared disappeared stopped started
        cried smiled shouted whispered wandered swam studied""",
    "adverb": """quickly slowly carefully quietly suddenly often always never usually
        finally happily gently secretly proudly nearly certainly probably
        politely rarely easily""",
    "say": """said thought believed knew promised explained announced dreamed
        decided insisted hoped suggested admitted""",
    "time": """yesterday today tonight tomorrow again together afterwards
        recently""",
    "season": """monday tuesday wednesday thursday friday saturday sunday
        january february march april june july august september october
        november december""",
    "period": """morning evening afternoon winter summer autumn spring weekend storm
        party wedding festival concert lesson holiday dinner breakfast lunch
        meeting war game""",
    "material": """water milk bread sand rice fruit money music gold
        smoke wool silk leather cotton metal stone""",
    "place_prep": """behind beside near inside outside around across beyond under
        toward""",
    "time_prep": """before after during""",
    "own": """my your his our their her""",
    "det": """the a this that every another""",
    "question": """why how when where""",
    "link": """because while until although""",
    "small": """and with from about was is very too in at on of to not did could should will
        some many there please it we they he she you who""",
}


def role_words() -> dict[str, tuple[str, ...]]:
    """Words of each role, in the order written, without repeats."""
    return {role: tuple(dict.fromkeys(text.split())) for role, text in WORDS.items()}


def vocabulary() -> tuple[str, ...]:
    """Every candidate word once, sorted."""
    return tuple(sorted({word for words in role_words().values() for word in words}))
