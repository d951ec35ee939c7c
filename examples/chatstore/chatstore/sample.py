"""Invented conversations, to try the store on."""

from __future__ import annotations

import random
from collections.abc import Iterator

from chatstore import store
from chatstore.models import Session

_TOPICS = ("a bread recipe", "the tax form", "a trip to Turin", "the flaky test", "a birthday poem", "the leaking tap")
_QUESTIONS = ("How would you begin with {}?", "And if I have no time for {}?", "What is the usual mistake with {}?")
_ANSWERS = ("Start small.", "Write down what you know first.", "Ask somebody who has done it.", "Sleep on it.")


def save_sessions(count: int, longest: int = 0, seed: int = 1) -> Iterator[Session]:
    """Save ``count`` conversations of two to twenty messages, each before the next is made.

    :param longest: messages of the last one, where it is to be a long one.
    """
    chance = random.Random(seed)
    for number in range(1, count + 1):
        topic = chance.choice(_TOPICS)
        session = store.new_session(f"{topic.capitalize()} ({number})")
        talk(session, topic, longest // 2 if longest and number == count else chance.randint(1, 10), chance)
        store.save(session)
        yield session


def talk(session: Session, topic: str, turns: int, chance: random.Random) -> None:
    """Let two speakers take ``turns`` turns each."""
    for _ in range(turns):
        session.say("user", chance.choice(_QUESTIONS).format(topic))
        session.say("assistant", chance.choice(_ANSWERS))
