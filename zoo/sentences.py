"""Sentences the project wrote, made from templates: two phrasings, five fillings each.

All sentences of a template share their words, so a template is a group, and each split has
templates of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

Template = tuple[str, str, str]
"""Two phrasings with one gap each, and the fillings, separated by semicolons."""

EVALUATION: tuple[Template, ...] = (
    (
        "The {} closed early because of the storm.",
        "Because of the bad weather, the {} shut ahead of time.",
        "harbour; ski lift; open-air market; zoo; ferry terminal",
    ),
    (
        "She learned to play the {} when she was seven.",
        "At the age of seven she took her first lessons on the {}.",
        "violin; drums; harp; trumpet; accordion",
    ),
    (
        "The recipe asks for two spoons of {}.",
        "You need a couple of spoonfuls of {} for this dish.",
        "mustard; honey; grated ginger; olive oil; cocoa powder",
    ),
    (
        "Our train to {} was delayed by an hour.",
        "We got to {} sixty minutes late by rail.",
        "Vienna; Osaka; Edinburgh; Marrakesh; Toronto",
    ),
    (
        "The museum bought a {} from the twelfth century.",
        "A {} made nine hundred years ago joined the gallery's collection.",
        "sword; prayer book; silver cup; tapestry; wooden statue",
    ),
    (
        "Is it safe to give {} to a dog?",
        "I wonder whether my dog may eat {}.",
        "grapes; raw fish; peanut butter; chocolate; boiled carrots",
    ),
    (
        "The city council voted to build a new {}.",
        "A {} will go up after the town's representatives agreed to pay for it.",
        "library; swimming pool; tram line; prison; skate park",
    ),
    (
        "My laptop makes a strange noise when I {}.",
        "There is an odd sound from the computer whenever I {}.",
        "open the lid; play a game; plug in the charger; copy large files; insert a disc",
    ),
    (
        "Scientists found {} at the bottom of the lake.",
        "Researchers discovered {} on the lake bed.",
        "ancient pollen; plastic waste; a sunken boat; blind shrimp; volcanic ash",
    ),
    (
        "The {} won the match in the last minute.",
        "A late goal gave victory to the {}.",
        "visiting team; national champions; village club; students; police eleven",
    ),
    (
        "He repaired the {} with a piece of wire.",
        "With a bit of wire he mended the {}.",
        "garden gate; toaster; bicycle chain; bird cage; fishing rod",
    ),
    (
        "Prices of {} rose by a tenth this year.",
        "Buyers pay ten per cent more for {} than twelve months ago.",
        "wheat; copper; used cars; olive oil; heating gas",
    ),
    (
        "The doctor told him to avoid {}.",
        "On medical advice he stays away from {}.",
        "salty food; direct sunlight; heavy lifting; alcohol; long flights",
    ),
    (
        "A film about {} opened the festival.",
        "The first picture shown at the festival dealt with {}.",
        "beekeepers; a bank robbery; deep-sea divers; the moon landing; twin sisters",
    ),
    (
        "The parcel with the {} never arrived.",
        "I am still waiting for the package that holds the {}.",
        "running shoes; wedding rings; chess set; spare keys; seed potatoes",
    ),
    (
        "How many {} live on the island?",
        "What is the number of {} found on that island?",
        "goats; fishermen; seals; families; wild horses",
    ),
    (
        "The teacher explained why {}.",
        "In class we heard the reason that {}.",
        "the sky is blue; ice floats; leaves turn red; bridges expand; the tide comes in",
    ),
    (
        "The company will stop selling {} next spring.",
        "From spring on, {} disappear from the firm's range.",
        "typewriters; diesel engines; printed maps; baby clothes; frozen meals",
    ),
    (
        "A thief stole {} from the church.",
        "{} went missing from the church after a break-in.",
        "the bronze bell; two paintings; the collection box; copper gutters; old candlesticks",
    ),
    (
        "The hikers spent the night in {}.",
        "{} gave the walkers shelter until morning.",
        "a barn; a snow cave; an abandoned mine; a monastery; a hollow tree",
    ),
    (
        "Children under ten may not use the {}.",
        "The {} is off limits for kids of nine and younger.",
        "trampoline; sauna; climbing wall; archery range; water slide",
    ),
    (
        "The bank refused the loan for {}.",
        "They could not borrow the money they wanted for {}.",
        "a bakery; a tractor; a second house; dental treatment; solar panels",
    ),
    (
        "The gardener planted {} along the wall.",
        "Beside the wall there now grow {}.",
        "roses; tomatoes; lavender; pear trees; sunflowers",
    ),
    (
        "The newspaper apologised for a story about {}.",
        "Editors said sorry for what they had printed on {}.",
        "the mayor; a vaccine; a plane crash; the lottery; a local chef",
    ),
    (
        "The engine failed while the {} was crossing the bay.",
        "Halfway over the bay the {} lost its power.",
        "ferry; seaplane; rescue helicopter; fishing boat; hovercraft",
    ),
    (
        "She writes a column about {} for a weekly magazine.",
        "Every week readers find her thoughts on {} in the magazine.",
        "chess; personal finance; divorce law; wild mushrooms; astronomy",
    ),
    (
        "The court fined the owner for {}.",
        "For {} the proprietor had to pay a penalty.",
        "dumping paint; serving minors; faking invoices; loud music; overcrowding the hall",
    ),
    (
        "A wall of the {} collapsed during the earthquake.",
        "The quake brought down one side of the {}.",
        "hospital; brewery; old fortress; sports hall; parking garage",
    ),
    (
        "The software update removed the {}.",
        "Since installing the new version I can no longer find the {}.",
        "dark theme; spelling checker; export button; offline mode; volume control",
    ),
    (
        "Volunteers collected {} for the refugees.",
        "Helpers gathered {} to give to people who had fled.",
        "winter coats; tents; medicine; school books; toys",
    ),
    (
        "The orchestra cancelled the concert because the {} was ill.",
        "With the {} sick, the evening of music was called off.",
        "conductor; soprano; first oboist; pianist; stage manager",
    ),
    (
        "The old {} is being turned into flats.",
        "Apartments are planned inside the former {}.",
        "cotton mill; railway station; cinema; lighthouse; army barracks",
    ),
)

CALIBRATION: tuple[Template, ...] = (
    (
        "He forgot his {} in the taxi.",
        "The {} was left behind on the back seat of a cab.",
        "umbrella; passport; saxophone; birthday cake; hearing aid",
    ),
    (
        "The farm sells {} on Saturdays.",
        "At the weekend you can buy {} straight from the farmer.",
        "goat cheese; pumpkins; fresh eggs; apple juice; firewood",
    ),
    (
        "Who invented the {}?",
        "Tell me the name of the person behind the first {}.",
        "zip; telescope; parachute; ballpoint pen; dishwasher",
    ),
    (
        "The {} on the second floor is broken again.",
        "Somebody has to fix the {} upstairs once more.",
        "printer; coffee machine; lift; fire alarm; water tap",
    ),
    (
        "We saw {} on the way to the coast.",
        "Driving towards the sea, we came across {}.",
        "a rainbow; two deer; a burning car; a brass band; a wind farm",
    ),
    (
        "The new law forbids {} in public parks.",
        "{} is no longer allowed in parks.",
        "smoking; flying drones; barbecuing; busking; feeding pigeons",
    ),
    (
        "The patient complained of {} after the operation.",
        "Following surgery the man reported {}.",
        "dizziness; a sore throat; blurred vision; back pain; itching",
    ),
    (
        "The shop gives a discount to {}.",
        "Lower prices apply here for {}.",
        "students; pensioners; nurses; large families; regular customers",
    ),
    (
        "The expedition ran out of {} in the desert.",
        "Deep in the desert the explorers had no {} left.",
        "fuel; drinking water; batteries; bandages; food",
    ),
    (
        "The sculptor works mostly with {}.",
        "{} is the material this artist likes best.",
        "marble; scrap metal; driftwood; glass; clay",
    ),
)

TRAIN: tuple[Template, ...] = (
    (
        "The bakery on the corner is famous for its {}.",
        "People come from far away for the {} at that bakery.",
        "rye bread; almond cake; cheese rolls; doughnuts; plum tart",
    ),
    (
        "The pilot asked the passengers to {}.",
        "Everybody on board was told by the captain to {}.",
        "stay seated; fasten their belts; switch off phones; close the blinds; remain calm",
    ),
    (
        "The river flooded the {} after three days of rain.",
        "Three wet days later, water stood in the {}.",
        "car park; vineyard; town hall; football pitch; cellar",
    ),
    (
        "My grandfather collects {}.",
        "In his house grandfather keeps a large number of {}.",
        "stamps; clocks; beer mats; fossils; model trains",
    ),
    (
        "The battery of the {} lasts for two days.",
        "You have to charge the {} every other day.",
        "watch; camera; electric bike; headset; torch",
    ),
    (
        "The university offers a course in {}.",
        "Students may now take classes on {}.",
        "robotics; ancient Greek; forestry; game design; nursing",
    ),
    (
        "They painted the {} bright yellow.",
        "The {} has got a coat of shining yellow.",
        "kitchen; fence; school bus; garden chairs; front door",
    ),
    (
        "The witness remembered the {} of the driver.",
        "What stayed in the witness's mind was the driver's {}.",
        "beard; red hat; accent; tattoo; sunglasses",
    ),
    (
        "The factory produces {} for export.",
        "Most {} from this plant are sold abroad.",
        "tyres; violins; light bulbs; bricks; syringes",
    ),
    (
        "Can you lend me a {} until Friday?",
        "I would like to borrow your {} and return it at the end of the week.",
        "ladder; suitcase; tent; drill; black tie",
    ),
    (
        "The spider built its web between {}.",
        "Between {} hung a spider's web.",
        "two roses; the window bars; the wheel spokes; the pews; the masts",
    ),
    (
        "The minister resigned over {}.",
        "{} cost the minister the office.",
        "a secret loan; the rail strike; a forged degree; a leaked letter; the power cuts",
    ),
)

SPLITS = {"train": TRAIN, "calibration": CALIBRATION, "evaluation": EVALUATION}


def sentences(split: str) -> Iterator[tuple[str, int]]:
    """Sentences of a split and the number of their template, unique over all splits."""
    names = list(SPLITS)
    first = sum(len(SPLITS[name]) for name in names[: names.index(split)])
    for number, (plain, other, fillings) in enumerate(SPLITS[split], start=first):
        for filling in fillings.split("; "):
            for phrasing in (plain, other):
                sentence = phrasing.format(filling)
                yield sentence[0].upper() + sentence[1:], number
