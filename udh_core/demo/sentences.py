"""What the built-in person says."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..speech.tts import CHARACTERS_PER_S

NEW_SPEECH: tuple[str, ...] = (
    "Good evening, and thank you for joining us from every corner of the world.",
    "Above the valley the morning fog is lifting, and a pale moon fades behind the mountain.",
    "My brother bought five big apples, but he forgot the brown paper bag.",
    "Would you choose the blue boat or the small yellow one?",
    "Nobody knew why the old piano suddenly began to play by itself.",
    "She saw a white swan move slowly over the quiet water, far from the shore.",
    "Please open the window, because it is far too warm in here.",
    "We have measured this more than twelve times, and the answer is always the same.",
    "How wonderful it would be to hear that voice again!",
    "Perhaps the best part of a long journey is the moment you come home.",
)
_WORDS = {
    "who": "my father, the young pilot, a famous painter, our neighbour, the baker, an old fisherman, the mayor, "
    "her sister, the whole team, a shy child, the engineer, professor Bloom, the farmer, a loud parrot",
    "did": "moved, painted, borrowed, followed, opened, photographed, carried, found, watched, bought, dropped, fixed, "
    "covered, lost, washed, pushed, remembered, imagined",
    "thing": "the purple box, a pair of boots, the broken clock, five wooden spoons, a map of the harbour, "
    "the blue vase, an empty bottle, the family album, a huge pumpkin, the garden chair, a bowl of cherries, "
    "the rubber wheel, a warm woollen scarf, the last ticket, a jar of honey, the heavy suitcase",
    "where": "behind the barn, near the river, in the middle of town, under the bridge, above the shop, "
    "at the airport, beside the fountain, on the roof, across the road, in the museum, along the beach, "
    "outside the theatre",
    "when": "on Monday morning, before breakfast, after the storm, in early autumn, at half past four, last weekend, "
    "during the film, every other Friday, long ago, just before midnight, in the month of May",
    "how": "slowly, with great pleasure, without a word, by chance, very carefully, for no reason, in a hurry",
    "place": "Boston, Vienna, the village, Cape Town, the harbour, Moscow, the valley, Peru, Oxford",
    "mood": "beautiful, awful, amusing, impossible, marvellous, rather odd, too short, far away, simple",
    "number": "two, five, seven, nine, twelve, fifteen, twenty one, forty four, sixty, a hundred",
    "food": "mushroom soup, apple pie, brown bread, fresh peaches, vanilla pudding, roast beef, plum jam",
}
_TEMPLATES = (
    "{who} {did} {thing} {where}.",
    "{when}, {who} {did} {thing}.",
    "Have you heard that {who} {did} {thing} {how}?",
    "It was {mood} to see {who} {where} {when}.",
    "{number} people from {place} came to look at {thing}.",
    "We ate {food} and talked about {thing} {where}.",
    "If you go to {place}, ask {who} about {thing}.",
    "{who} said that {place} is {mood} {when}.",
    "Why would {who} put {food} {where}?",
    "First {who} {did} {thing}, and then {who} did the same {how}.",
    "There were {number} boxes of {food} {where}, and {who} wanted them all.",
    "Oh, how {mood} that {who} {did} {thing} {when}!",
    "No, I have never been to {place} {when}, but {who} has.",
    "{how}, {who} walked from {place} to {place} for {number} days.",
    "You may keep {thing}; {who} {did} {number} more {when}.",
)


def passages(seed: int, seconds: float) -> list[str]:
    """Varied English sentences, none twice, that take at least `seconds` to speak."""
    rng = np.random.default_rng([seed, 1])
    sentences: dict[str, None] = {}
    characters = 0
    while characters < seconds * CHARACTERS_PER_S * 1.5:
        words = {key: iter(rng.permutation(values.split(", ")).tolist()) for key, values in _WORDS.items()}
        template = _TEMPLATES[rng.integers(len(_TEMPLATES))]
        sentence = _fill(template, words)
        if sentence not in sentences:
            sentences[sentence] = None
            characters += len(sentence)
    return list(sentences)


def _fill(template: str, words: dict[str, Iterator[str]]) -> str:
    """Replace each {key} by the next word of its list; the sentence begins with a capital."""
    first, *pieces = template.split("{")
    filled = (piece.partition("}") for piece in pieces)
    text = first + "".join(next(words[key]) + rest for key, _, rest in filled)
    return text[:1].upper() + text[1:]
