"""Run by test_server_clients.py with a Python that has litellm: what its users call, against a server.

    litellm_program.py URL      prints what came, as JSON
"""
import asyncio
import json
import os
import sys

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"     # nothing is downloaded
import litellm  # noqa: E402 - the variable comes first

litellm.suppress_debug_info = True
SPELL = [{"role": "user", "content": "Spell pear."}]
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]


def main(url):
    to = {"model": "openai/dialog", "api_base": url + "/v1", "api_key": "none", "num_retries": 0}
    chat = {**to, "messages": SPELL}
    whole = litellm.completion(**chat, temperature=0, max_tokens=40, seed=1, stop=["?"], user="me")
    chunks = list(litellm.completion(**chat, stream=True, stream_options={"include_usage": True}))

    async def together():
        return await asyncio.gather(*(litellm.acompletion(**chat) for _ in range(4)))
    errors = {}
    for name, wrong in {"penalty": {"presence_penalty": 1.0}, "long": {"messages": [{"role": "user", "content": "x" * 8000}]},
                        "tool": {"tools": TOOLS, "tool_choice": "required"}}.items():
        try:
            litellm.completion(**{**chat, **wrong})
        except Exception as error:  # noqa: BLE001 - which one is the question
            errors[name] = [type(error).__name__, str(error)]
    return {
        "whole": [whole.choices[0].message.content, whole.choices[0].finish_reason, whole.usage.completion_tokens],
        "stream": ["".join(c.choices[0].delta.content or "" for c in chunks if c.choices), chunks[-1].usage.completion_tokens],
        "together": [answer.choices[0].message.content for answer in asyncio.run(together())],
        "tools": litellm.completion(**chat, tools=TOOLS).choices[0].finish_reason,
        "text": litellm.text_completion(**{**to, "model": "text-completion-openai/dialog"}, prompt="Spell", max_tokens=5).choices[0].text,
        "responses": litellm.responses(**to, input="Spell pear.").output[0].content[0].text,
        "errors": errors,
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
