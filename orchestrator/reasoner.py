"""Asking the reasoner for one reply, so that the request always fits its context."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from longvideo import errors, metrics
from longvideo.inference import Completion, ModelClient
from longvideo.tokens import MESSAGE_TOKENS, TokenMeter
from orchestrator import protocol
from orchestrator.spec import ContextExhausted
from orchestrator.transcript import Message

# Shares of the reasoner's context: a reply, one observation, and the high-level captions together. At the method's
# 32,768 tokens a reply may have 2,730, four times what a 400-word caption takes.
REPLY, OBSERVATION, OPENING = 1 / 12, 1 / 12, 1 / 2


class Reasoner:
    """The reasoner of one episode: a model, its context, and how many tokens its texts turn out to have.

    `session` makes the calls stick to one server, whose prefix cache then serves every earlier turn. `deadline` is on
    `time.monotonic`'s clock. `check` raises when nobody wants the answer any more.
    """

    def __init__(
        self,
        client: ModelClient,
        *,
        session: str,
        pool: str,
        deadline: float,
        check: Callable[[], None],
        priority: int = 0,
    ) -> None:
        self._client = client
        self._priority = priority
        self._session, self._pool, self._deadline, self._check = session, pool, deadline, check
        self._model = client.describe(pool, deadline=deadline, cancelled=self._unwanted)
        self._meter = TokenMeter()

    def reply(self, conversation: Sequence[Message], width: int, *, must_answer: bool) -> Completion:
        """Returns what the reasoner says next; whoever finds out whether that can be used counts the calls.

        Raises ContextExhausted when there is no room for it to say anything.
        """
        room = min(self.share(REPLY), self._model.context_length - self._tokens(conversation))
        if room < self.share(REPLY) // 4:
            raise ContextExhausted("The conversation reached the reasoner's context length.")
        pattern = protocol.reply_pattern(width, answer_only=must_answer)
        try:
            completion = self._client.complete(
                [dict(message) for message in conversation],
                max_tokens=room,
                deadline=self._deadline,
                session=self._session,
                pool=self._pool,
                priority=self._priority,
                stop=protocol.STOP,
                regex=pattern if self._model.structured_output else None,
                cancelled=self._unwanted,
            )
        except errors.LongVideoError as error:
            metrics.count_calls(error.calls)
            raise
        self._meter.observe(_text(conversation), completion.calls[-1].prompt_tokens)
        return completion

    def has_room(self, conversation: Sequence[Message]) -> bool:
        """Tells whether another round fits: a reply, an observation, and then a last reply."""
        return self._tokens(conversation) + self.share(2 * REPLY + OBSERVATION) <= self._model.context_length

    def clip(self, text: str, share: float) -> str:
        """Returns the text, shortened to a share of the context."""
        return self._meter.clip(text, self.share(share))

    def share(self, share: float) -> int:
        """Returns a share of the context in tokens."""
        return int(self._model.context_length * share)

    def _tokens(self, conversation: Sequence[Message]) -> int:
        return self._meter.estimate(_text(conversation)) + MESSAGE_TOKENS * len(conversation)

    def _unwanted(self) -> bool:
        try:
            self._check()
        except errors.Cancelled:
            return True
        return False


def _text(conversation: Sequence[Message]) -> str:
    return "".join(message["content"] for message in conversation)
