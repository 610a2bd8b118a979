"""A closed set of answers, as a config names it and a prompt asks for it."""

from collections.abc import Sequence

MAX_CHOICES = 100


def check_choices(choices: tuple[str, ...]) -> tuple[str, ...]:
    """The choices as they are; ValueError where they are not two or more that differ in more than case."""
    if not 2 <= len(choices) <= MAX_CHOICES:  # noqa: PLR2004  one choice asks nothing
        raise ValueError(f"give 2 to {MAX_CHOICES} choices")
    if len({" ".join(choice.casefold().split()) for choice in choices}) < len(choices):
        raise ValueError("two choices are the same but for case or spaces")
    for choice in choices:
        if not choice.strip() or choice != choice.strip() or not choice.isprintable():
            raise ValueError(f"{choice!r} is no choice: a text of one line, without spaces around it")
    return choices


def choices_form(choices: Sequence[str]) -> str:
    """What asks for one of them."""
    return f"Answer with one of these and nothing else: {', '.join(choices)}."
