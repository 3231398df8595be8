"""Run by test_server_clients.py with a Python that has litellm: what its users call, against a server.

    litellm_program.py URL      prints what came, as JSON
"""
import asyncio
import json
import os
import sys
from typing import Literal

import pydantic

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"     # nothing is downloaded
import litellm  # noqa: E402 - the variable comes first

litellm.suppress_debug_info = True
SPELL = [{"role": "user", "content": "Spell pear."}]
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]
SCHEMA = {"type": "object", "properties": {"name": {"enum": ["Rome", "Bonn"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
          "required": ["name", "days"], "additionalProperties": False}
FORMAT = {"type": "json_schema", "json_schema": {"name": "city", "strict": True, "schema": SCHEMA}}


class City(pydantic.BaseModel):
    name: Literal["Rome", "Bonn"]
    days: int = pydantic.Field(ge=1, le=9)


def structured(to, chat):
    """Texts that are bound to a schema, however litellm is asked for it."""
    pieces = litellm.completion(**chat, response_format=FORMAT, stream=True)
    text = {"format": {"type": "json_schema", "name": "city", "schema": SCHEMA, "strict": True}}
    return {
        "schema": litellm.completion(**chat, response_format=FORMAT).choices[0].message.content,
        "class": litellm.completion(**chat, response_format=City).choices[0].message.content,
        "stream": "".join(p.choices[0].delta.content or "" for p in pieces if p.choices),
        "responses": litellm.responses(**to, input="Spell pear.", text=text).output[0].content[0].text,
        "object": litellm.completion(**chat, response_format={"type": "json_object"}, max_tokens=40).choices[0].message.content,
    }


def main(url):
    to = {"model": "openai/dialog", "api_base": url + "/v1", "api_key": "none", "num_retries": 0}
    chat = {**to, "messages": SPELL}
    whole = litellm.completion(**chat, temperature=0, max_tokens=40, seed=1, stop=["?"], user="me")
    chunks = list(litellm.completion(**chat, stream=True, stream_options={"include_usage": True}))

    async def together():
        return await asyncio.gather(*(litellm.acompletion(**chat) for _ in range(4)))
    errors = {}
    for name, wrong in {"penalty": {"presence_penalty": 1.0}, "long": {"messages": [{"role": "user", "content": "x" * 8000}]},
                        "tool": {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "wether"}}}}.items():
        try:
            litellm.completion(**{**chat, **wrong})
        except Exception as error:  # noqa: BLE001 - which one is the question
            errors[name] = [type(error).__name__, str(error)]
    return {
        "whole": [whole.choices[0].message.content, whole.choices[0].finish_reason, whole.usage.completion_tokens],
        "stream": ["".join(c.choices[0].delta.content or "" for c in chunks if c.choices), chunks[-1].usage.completion_tokens],
        "together": [answer.choices[0].message.content for answer in asyncio.run(together())],
        "tools": litellm.completion(**chat, tools=TOOLS).choices[0].finish_reason,
        "call": litellm.completion(**chat, tools=TOOLS, tool_choice="required").choices[0].message.tool_calls[0].function.name,
        "text": litellm.text_completion(**{**to, "model": "text-completion-openai/dialog"}, prompt="Spell", max_tokens=5).choices[0].text,
        "responses": litellm.responses(**to, input="Spell pear.").output[0].content[0].text,
        "structured": structured(to, chat),
        "errors": errors,
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
