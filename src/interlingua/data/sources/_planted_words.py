"""Words of the generated world: themes with their vocabularies, and neutral words."""

from __future__ import annotations

THEMES: dict[str, tuple[str, ...]] = {
    "space": ("rocket", "galaxy", "planet", "orbit", "comet", "astronaut", "nebula", "starship"),
    "cooking": ("kitchen", "recipe", "baker", "spice", "bread", "chef", "soup", "oven"),
    "crime": ("detective", "murder", "alibi", "suspect", "police", "heist", "verdict", "thief"),
    "romance": ("love", "wedding", "kiss", "bride", "heart", "letter", "embrace", "courtship"),
    "sailing": ("ocean", "harbour", "captain", "anchor", "island", "lighthouse", "storm", "voyage"),
    "magic": ("wizard", "dragon", "spell", "potion", "castle", "unicorn", "prophecy", "enchanter"),
    "sports": ("football", "athlete", "marathon", "stadium", "coach", "champion", "goalkeeper", "tournament"),
    "music": ("violin", "orchestra", "singer", "melody", "piano", "concert", "drummer", "opera"),
    "gardening": ("garden", "rose", "orchard", "seed", "greenhouse", "tulip", "beekeeper", "harvest"),
    "war": ("soldier", "battle", "trench", "general", "siege", "regiment", "armistice", "cavalry"),
    "medicine": ("doctor", "hospital", "nurse", "surgery", "vaccine", "patient", "pharmacy", "clinic"),
    "computers": ("computer", "hacker", "robot", "software", "algorithm", "network", "keyboard", "database"),
    "animals": ("horse", "wolf", "elephant", "puppy", "kitten", "falcon", "dolphin", "zebra"),
    "travel": ("train", "passport", "desert", "caravan", "backpack", "hotel", "map", "airport"),
    "finance": ("bank", "investor", "market", "dividend", "tax", "broker", "bankruptcy", "millionaire"),
    "ghosts": ("ghost", "haunting", "graveyard", "vampire", "curse", "phantom", "séance", "crypt"),
}
"""Theme -> words, eight each, no word in two themes"""
ADJECTIVES = ("Quiet", "Golden", "Last", "Secret", "Broken", "Young", "Silent", "Winter", "Lost", "Second")
"""Words of titles that belong to no theme"""
NOUNS = ("Story", "Days", "Notebook", "House", "Question", "Season", "Companion", "Hour", "Promise", "Year")
"""The same"""
