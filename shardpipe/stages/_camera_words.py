"""What a caption says that the camera does, in English, and whether that goes with the labels of stage `camera_motion`.

A claim is the labels of which one must be there. `pans left` claims {pan left}; `pans` any of four; `moves` any but static;
`moves forward` any move but zoom out, as what a camera that travels gives depends on what it sees.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from shardpipe.stages._sentences import sentences

Labels = frozenset[str]
STATIC, SHAKE, ROLL = "static", "shake", "roll"
OTHER = "other"
"""A label that `camera_motion` does not have: some move."""
LEFT, RIGHT, UP, DOWN, IN, OUT = "pan left", "pan right", "tilt up", "tilt down", "zoom in", "zoom out"
MOVES = frozenset((LEFT, RIGHT, UP, DOWN, IN, OUT, ROLL, SHAKE, OTHER))
LABELS = MOVES - {OTHER} | {STATIC}

TURN = "turn"
DIRECTIONS: dict[str, str] = {
    **dict.fromkeys(("left", "leftward", "leftwards"), LEFT),
    **dict.fromkeys(("right", "rightward", "rightwards"), RIGHT),
    **dict.fromkeys(("up", "upward", "upwards"), UP),
    **dict.fromkeys(("down", "downward", "downwards"), DOWN),
    **dict.fromkeys(("in", "into", "inward", "inwards", "closer", "nearer", "forward", "forwards"), IN),
    **dict.fromkeys(("out", "outward", "outwards", "back", "backward", "backwards", "away"), OUT),
    **dict.fromkeys(("clockwise", "counterclockwise", "anticlockwise"), TURN),
}
OPPOSITE = {LEFT: RIGHT, RIGHT: LEFT, UP: DOWN, DOWN: UP}
SHIFTS = {each: frozenset((each,)) for each in (LEFT, RIGHT, UP, DOWN)}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


@dataclass(frozen=True)
class Verb:
    """Its claim by direction, and without one; empty for a word that then says nothing. of_camera: said of a camera, not of a video."""

    by_direction: dict[str, Labels]
    alone: Labels = frozenset()
    of_camera: bool = True


PAN = Verb(SHIFTS, frozenset(SHIFTS), of_camera=False)
TILT = Verb(
    {
        UP: SHIFTS[UP],
        DOWN: SHIFTS[DOWN],
        LEFT: frozenset((LEFT, ROLL)),
        RIGHT: frozenset((RIGHT, ROLL)),
        TURN: frozenset((ROLL,)),
    },
    frozenset((UP, DOWN)),
    of_camera=False,
)
ZOOM = Verb({IN: frozenset((IN,)), OUT: frozenset((OUT,))}, frozenset((IN, OUT)), of_camera=False)
TRAVELS = {**SHIFTS, IN: MOVES - {OUT}, OUT: MOVES - {IN}, TURN: frozenset((ROLL,))}
MOVE = Verb(TRAVELS, MOVES)
"""A camera that does not is static; one that does not travel or follow may still turn."""
TRAVEL = Verb(TRAVELS, MOVES)
PUSH = Verb(TRAVELS)
ROTATE = Verb({TURN: frozenset((ROLL,)), LEFT: frozenset((LEFT, ROLL)), RIGHT: frozenset((RIGHT, ROLL))}, MOVES)
SAYS_ROLL = Verb({}, frozenset((ROLL,)))
SAYS_SHAKE = Verb({}, frozenset((SHAKE,)), of_camera=False)
SAYS_STATIC = Verb({}, frozenset((STATIC,)), of_camera=False)
STEADY = Verb({}, of_camera=False)
"""Denies shake."""

VERBS_AS_TEXT: Sequence[tuple[str, Verb]] = (
    ("pan pans panned panning", PAN),
    ("tilt tilts tilting", TILT),
    ("zoom zooms zooming", ZOOM),
    ("move moves moved moving", MOVE),
    ("travels traveling travelling tracks tracking follows following glides gliding drifts drifting sweeps", TRAVEL),
    ("sweeping flies flying dolly dollies dollying trucks trucking orbits orbiting circles circling arcs", TRAVEL),
    ("ascends descends", TRAVEL),
    ("push pushes pushing pull pulls pulling turns turning shifts shifting slides sliding swings swinging", PUSH),
    ("cranes craning rises rising lowers booms", PUSH),
    ("rotate rotates rotating spins spinning", ROTATE),
    ("rolls", SAYS_ROLL),
    ("shake shakes shaking jitters jittering wobbles wobbling trembles trembling", SAYS_SHAKE),
    ("shaky unsteady jittery wobbly", SAYS_SHAKE),
    ("static stationary fixed motionless unmoving immobile locked still", SAYS_STATIC),
    ("steady stable", STEADY),
)
VERBS = {word: verb for words, verb in VERBS_AS_TEXT for word in words.split()}
NOUNS = frozenset(("pan", "tilt", "zoom", "dolly", "shake", "move"))
"""They say something only with a direction, or denied: pans stand on stoves."""
LEAD = _words(
    "is are was were be being been has have had remains remain remained stays stay stayed holds hold held keeps kept appears"
    " seems begins begin starts start started continues continue to then also and just now first next finally there a an the in"
    " with by through using via performs executes makes does do did can could uses employs slow smooth gentle slight quick"
    " gradual subtle fast long short simple continuous motion movement movements angle position perspective work itself very"
    " quite almost somewhat again once any"
)
NOT = _words("not never no without doesn't don't didn't isn't aren't wasn't nor neither hardly")
FILL = _words("to toward towards the from a bit little over further side across around then screen")
MOST_BEFORE, MOST_BEHIND = 60, 240
"""Characters around a subject that are read."""
WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")
SUBJECT = re.compile(r"\b(?:(camera)(?:'s)?|shot|view|footage|video|clip|framing|viewpoint)\b")
CUT = re.compile(
    r"[;:()]|\b(?:as|while|when|where|which|who|whose|that|because|since|until|revealing|showing|capturing|highlighting|focusing)\b"
    r"|\bto (?:reveal|show|capture|keep|focus|give|get)\b"
    r"|(?:,(?: and| then)?| and| but) (?:the|a|an|his|her|its|their|he|she|it|they|we|one|two|three|several|some|people|there)\b"
)
PARTS = re.compile(r"(,| and | then | before | but | or | nor )")
OWNERS = _words("his her their its my your our someone's")
OBJECT_OF = _words(
    "at to toward towards facing faces face from into holding holds hold held for behind past near using uses carrying carries"
    " carry setting sets adjusts adjusting operates operating approaches approaching beside against by of on off takes taking"
    " picks raises raising lifts lifting points pointing aims aiming front checks checking"
)
MOTION_LINE = re.compile(r"\bcamera(?: motion| movement)?: ([a-z, ]+)")
STILL_VIEW = re.compile(
    r"\b(?:(?:static|stationary|fixed|motionless|unmoving|locked(?: off| down)?) (?:\w+ )?(?:camera|shot|view|perspective|viewpoint|framing|angle|position)"
    r"|still shot|(?:no|without(?: any)?) (?:\w+ )?camera (?:movements?|motions?))\b"
)
STEADY_VIEW = re.compile(r"\b(?:steady|stable) (?:camera|shot|footage)\b|\b(?:no|without(?: any)?) camera shake\b")
SHAKY_VIEW = re.compile(r"\b(?:shaky|unsteady|jittery|wobbly) (?:\w+ )?(?:camera|shot|footage|video|clip|view)\b|\bcamera shake\b")  # fmt: skip
MOVING_VIEW = re.compile(r"\b(panning|tilting|zooming|zoom in|zoom out|tracking|dolly|sweeping|moving) (?:camera )?(?:shot|view)\b([^.,;]*)")  # fmt: skip
NAMED_MOVE = re.compile(
    r"\b(?:slow|smooth|gentle|slight|quick|steady|subtle|gradual|fast) (pan|tilt|zoom)\b([^.,;]*)|\ba (pan|tilt) (to the (?:left|right)|up|down)\b"
)


@dataclass
class Said:
    """claims: each the labels of which one must be there. denied: labels that must not be there."""

    claims: list[Labels] = field(default_factory=list)
    denied: set[str] = field(default_factory=set)

    def add(self, verb: Verb, labels: Labels, *, is_denied: bool) -> None:
        """Takes in what one verb says."""
        if verb is STEADY:
            if not is_denied:
                self.denied.add(SHAKE)
        elif is_denied:
            if verb is MOVE and labels == MOVES:
                self.claims.append(SAYS_STATIC.alone)
            elif verb not in (MOVE, TRAVEL, ROTATE):
                self.denied |= labels
        elif labels:
            self.claims.append(labels)


def contradicts(text: str, measured: Collection[str]) -> bool | None:
    """Whether a text says of the camera what the labels, in words (`pan left`), do not; None where it says nothing of it, or none are there."""
    said = said_of_camera(text)
    if not measured or not (said.claims or said.denied):
        return None
    there = {label if label in LABELS else OTHER for label in measured}
    moves = [claim for claim in said.claims if STATIC not in claim]  # static at first, moving then: the moves count
    return any(not claim & there for claim in moves or said.claims) or bool(said.denied & there)


def said_of_camera(text: str) -> Said:
    """All that a text says of the camera."""
    said = Said()
    for sentence in sentences(text.casefold().replace("\u2019", "'")):
        plain = " ".join(re.sub(r"[-_]", " ", sentence).split())
        line = MOTION_LINE.search(plain)
        if labels := [label.strip() for label in line[1].split(",") if label.strip() in LABELS] if line else []:
            said.claims += [frozenset((label,)) for label in labels]
            continue
        _add_views(plain, said)
        for subject in SUBJECT.finditer(plain):
            before = WORD.findall(plain[max(subject.start() - MOST_BEFORE, 0) : subject.start()])[-3:]
            if not subject[1] or not _is_object(before):
                _add_clause(plain[subject.end() : subject.end() + MOST_BEHIND], said, of_camera=bool(subject[1]))
    return said


def _add_views(sentence: str, said: Said) -> None:
    """What is said in a noun: a static shot, a shaky video, a slow pan to the left."""
    if STILL_VIEW.search(sentence):
        said.claims.append(SAYS_STATIC.alone)
    if STEADY_VIEW.search(sentence):
        said.denied.add(SHAKE)
    elif SHAKY_VIEW.search(sentence):
        said.claims.append(SAYS_SHAKE.alone)
    for found in [*MOVING_VIEW.finditer(sentence), *NAMED_MOVE.finditer(sentence)]:
        name, *directions = WORD.findall(" ".join(part for part in found.groups() if part))
        verb = VERBS[name]
        said.add(verb, _directed(verb, directions), is_denied=False)


def _is_object(before: Sequence[str]) -> bool:
    """Whether the words before a camera say that it is a thing in the picture."""
    if before and before[-1] in OWNERS:
        return True
    return bool(OBJECT_OF.intersection(before)) or before[-2:] in (["with", "a"], ["with", "an"])


def _add_clause(rest: str, said: Said, *, of_camera: bool) -> None:
    """What follows a subject, up to where another one begins, in its parts: `pans left, then zooms in`."""
    cut = CUT.search(rest)
    joint, is_denied, verb = "", False, None
    for part in PARTS.split(rest[: cut.start()] if cut else rest):
        if PARTS.fullmatch(part):
            joint = part.strip()
            continue
        words = WORD.findall(part)
        at, has_not = _after_lead(words)
        is_denied = has_not or (is_denied and joint in (",", "or", "nor"))
        name = words[at] if at < len(words) else ""
        found = VERBS.get(name)
        if found is None:
            if verb is not None and name in DIRECTIONS and (labels := _directed(verb, words[at:], or_alone=False)):
                said.add(verb, labels, is_denied=is_denied)
            continue
        verb = found
        if of_camera or not verb.of_camera:
            must_point = name in NOUNS and not is_denied
            said.add(verb, _directed(verb, words[at + 1 :], or_alone=not must_point), is_denied=is_denied)


def _after_lead(words: Sequence[str]) -> tuple[int, bool]:
    """Where the word stands that says something, and whether it is denied."""
    at = 0
    while at < len(words) and (words[at] in LEAD or words[at] in NOT or _is_adverb(words, at)):
        at += 1
    return at, not NOT.isdisjoint(words[:at])


def _is_adverb(words: Sequence[str], at: int) -> bool:
    """`slowly`, and `still` before a verb."""
    return words[at].endswith("ly") or (words[at] == "still" and VERBS.keys() & set(words[at + 1 : at + 2]) != set())


def _directed(verb: Verb, words: Sequence[str], *, or_alone: bool = True) -> Labels:
    """A verb's claim with the direction that the words behind it give; its claim without one, or none, where they give none."""
    starts = [0, *(at for at, word in enumerate(words[:10]) if word == "from" and at)]
    for start in starts:
        for direction in _first_direction(verb, words[start:]):
            return verb.by_direction[direction]
    return verb.alone if or_alone else frozenset()


def _first_direction(verb: Verb, words: Sequence[str]) -> Iterator[str]:
    """The direction with which the words begin, of those that the verb takes; of `left to right` the second."""
    for at, word in enumerate(words):
        direction = DIRECTIONS.get(word)
        goes_on = (
            word == "back" and words[at + 1 : at + 2] != [] and (words[at + 1] == "to" or words[at + 1] in DIRECTIONS)
        )
        if direction in verb.by_direction and not goes_on:
            behind = [each for each in words[at + 1 : at + 6] if each not in ("the", "side", "of", "screen")]
            second = DIRECTIONS.get(behind[1]) if len(behind) > 1 and behind[0] in ("to", "towards", "toward") else None
            yield second if second is not None and second == OPPOSITE.get(direction) else direction
            return
        if direction is None and word not in FILL and not word.endswith("ly"):
            return
