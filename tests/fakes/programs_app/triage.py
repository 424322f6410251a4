"""Programs of a user, one for each way to write one."""

from __future__ import annotations

import sys
from typing import Literal

import dspy


def classify() -> dspy.Module:
    """The common case: two outputs, and reasoning."""
    return dspy.ChainOfThought("text -> category: str, confidence: float")


def reply() -> dspy.Module:
    """One text output."""
    return dspy.Predict("text -> answer: str")


class Ticket(dspy.Signature):
    """Sort a support ticket."""

    text: str = dspy.InputField()
    customer: str = dspy.InputField(desc="the customer's name")
    urgent: bool = dspy.OutputField()
    priority: Literal["low", "high"] = dspy.OutputField()


def typed() -> dspy.Module:
    return dspy.Predict(Ticket)


class Support(dspy.Module):
    """Two predictors, one of them called twice, and a branch."""

    def __init__(self) -> None:
        super().__init__()
        self.classify = dspy.ChainOfThought("text -> category: str, confidence: float")
        self.write = dspy.Predict("text, category -> answer: str")

    def forward(self, text: str) -> dspy.Prediction:
        found = self.classify(text=text)
        answer = self.write(text=text, category=found.category).answer
        if "twice" in text:
            answer += " / " + self.write(text=text, category="again").answer
        return dspy.Prediction(category=found.category, answer=answer)


class AsyncSupport(dspy.Module):
    """Only asynchronous."""

    def __init__(self) -> None:
        super().__init__()
        self.classify = dspy.Predict("text -> category: str, confidence: float")

    async def aforward(self, text: str) -> dspy.Prediction:
        return await self.classify.acall(text=text)


class Forgiving(dspy.Module):
    """Hides the failures of its predictor."""

    def __init__(self) -> None:
        super().__init__()
        self.classify = dspy.Predict("text -> category: str, confidence: float")

    def forward(self, text: str) -> dspy.Prediction:
        try:
            return self.classify(text=text)
        except Exception:
            return dspy.Prediction(category="unknown", confidence=0.0)


class WithTool(dspy.Module):
    """Runs a tool between two calls, and then fails if it is asked to."""

    def __init__(self) -> None:
        super().__init__()
        self.classify = dspy.Predict("text -> category: str")
        self.lookup = dspy.Tool(lambda category: f"rule for {category}", name="lookup")

    def forward(self, text: str) -> dspy.Prediction:
        rule = self.lookup(category=self.classify(text=text).category)
        if "explode" in text:
            raise ValueError("the program exploded")
        return dspy.Prediction(answer=rule)


class AsyncWithTool(dspy.Module):
    """As `WithTool`, and only asynchronous."""

    def __init__(self) -> None:
        super().__init__()
        self.classify = dspy.Predict("text -> category: str")
        self.lookup = dspy.Tool(lambda category: f"rule for {category}", name="lookup")

    async def aforward(self, text: str) -> dspy.Prediction:
        found = await self.classify.acall(text=text)
        return dspy.Prediction(answer=await self.lookup.acall(category=found.category))


class Chat(dspy.Module):
    """Takes earlier turns."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = dspy.Predict("text, history: dspy.History -> answer: str")

    def forward(self, text: str, history: dspy.History | None = None) -> dspy.Prediction:
        return self.answer(text=text, history=history or dspy.History(messages=[]))


class Empty(dspy.Module):
    def forward(self, text: str) -> dspy.Prediction:
        return dspy.Prediction(answer=" ")


class Exits(dspy.Module):
    def forward(self, text: str) -> dspy.Prediction:
        if text == "exit":
            sys.exit(3)
        return dspy.Prediction(answer="fine")


class AsyncExits(dspy.Module):
    async def aforward(self, text: str) -> dspy.Prediction:
        if text == "exit":
            sys.exit(3)
        return dspy.Prediction(answer="fine")


class Deep(dspy.Module):
    def forward(self, text: str) -> dspy.Prediction:
        nested: list[object] = []
        for _ in range(5000):
            nested = [nested]
        return dspy.Prediction(answer=nested)


class NoPrediction(dspy.Module):
    def forward(self, text: str) -> str:
        return text


def configures() -> dspy.Module:
    """Sets the adapter for the process, as many programs do."""
    dspy.configure(adapter=dspy.JSONAdapter())
    return dspy.Predict("text -> category: str, confidence: float")


def raises() -> dspy.Module:
    raise RuntimeError("no database here")


def no_module() -> str:
    return "not a module"


#: a program where a factory should be
instance = dspy.Predict("text -> answer")
